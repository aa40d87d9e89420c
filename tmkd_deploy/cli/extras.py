"""Which optional packages bring which import, and which of them are installed."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass

import packaging.requirements
from packaging.markers import Marker
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from tmkd_deploy.models.packaged_weights import PACKAGES

PROJECT = "tmkd-deploy"

# Import name to distribution and extra.
PROVIDERS = {
    "torch": ("torch", "train"),
    "torchvision": ("torchvision", "train"),
    "timm": ("timm", "train"),
    "open_clip": ("open_clip_torch", "train"),
    "modelopt": ("nvidia-modelopt", "modelopt"),
    "safetensors": ("safetensors", "train"),
    "pyarrow": ("pyarrow", "train"),
    "onnx": ("onnx", "train"),
    "onnx_ir": ("onnxscript", "train"),
    "onnxscript": ("onnxscript", "train"),
    "matplotlib": ("matplotlib", "train"),
    "jinja2": ("jinja2", "train"),
    "tensorboard": ("tensorboard", "track"),
    "mlflow": ("mlflow-skinny", "track"),
    "onnxruntime": ("onnxruntime", "onnxruntime"),
    "openvino": ("openvino", "openvino"),
    "tensorrt": ("tensorrt", "tensorrt"),
    "tensorrt_rtx": ("tensorrt-rtx-cu13", "tensorrt-rtx"),
    "elpv_dataset": ("elpv-dataset", "demo"),
    **{each.module: (each.distribution, each.extra) for each in PACKAGES.values()},
}


@dataclass(frozen=True)
class Requirement:
    """A distribution that this package requires, and the version that is installed."""

    distribution: str
    specifier: SpecifierSet
    installed: str | None

    @property
    def satisfied(self) -> bool:
        """Whether it is installed in a version that fits; 2.9.0rc1 and 2.9.0+cpu count as 2.9.0."""
        if self.installed is None:
            return False
        try:
            version = Version(self.installed)
        except InvalidVersion:
            return False
        later = "" if version.post is None else f".post{version.post}"
        return self.specifier.contains(version.base_version + later)


def requirements() -> dict[str, list[Requirement]]:
    """What each extra requires on this machine, by the package's own metadata; "" is the base.

    Raises:
        importlib.metadata.PackageNotFoundError: this package is not installed.
    """
    metadata = importlib.metadata.metadata(PROJECT)
    extras = metadata.get_all("Provides-Extra", [])
    found: dict[str, list[Requirement]] = {}
    for line in metadata.get_all("Requires-Dist", []):
        parsed = packaging.requirements.Requirement(line)
        requirement = Requirement(parsed.name, parsed.specifier, _version(parsed.name))
        if _applies(parsed.marker, extra=""):
            found.setdefault("", []).append(requirement)
            continue
        for extra in extras:
            if _applies(parsed.marker, extra=extra):
                found.setdefault(extra, []).append(requirement)
    return found


def _applies(marker: Marker | None, *, extra: str) -> bool:
    return marker is None or marker.evaluate({"extra": extra})


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
