"""All target profiles by name, shipped and custom."""

from __future__ import annotations

import functools
from pathlib import Path

import yaml

from tmkd_deploy.errors import RequestError
from tmkd_deploy.suggestions import did_you_mean
from tmkd_deploy.targets import custom_profiles
from tmkd_deploy.targets.target_profile import TargetProfile

PROFILES = Path(__file__).parent / "profiles"

# `jetson` stands for the smallest Orin, so that what is built for it fits every Orin.
ALIASES = {"jetson": "jetson-orin-nano"}


def names() -> list[str]:
    """The names of all profiles, sorted."""
    return sorted(_files())


def aliases() -> dict[str, str]:
    """Short names, and the profiles that they stand for."""
    return dict(ALIASES)


def canonical(name: str) -> str:
    """The profile name for an alias; any other name is returned unchanged."""
    return ALIASES.get(name, name)


def get(name: str) -> TargetProfile:
    """The profile called `name`, which may be an alias.

    Raises:
        RequestError: there is none (the error suggests similar names), or a custom profile is
            invalid.
    """
    files = _files()
    path = files.get(canonical(name))
    if path is None:
        raise RequestError(
            f"There is no target {name!r}.",
            advice=f"{did_you_mean(name, [*files, *ALIASES])} "
            "List all targets with: tmkd-deploy targets list",
        )
    return _read(path)


def _files() -> dict[str, Path]:
    shipped = {path.stem: path for path in PROFILES.glob("*.yaml")}
    return shipped | custom_profiles.files({*shipped, *ALIASES})


@functools.cache
def _read(path: Path) -> TargetProfile:
    if path.parent != PROFILES:
        return custom_profiles.read(path)
    return TargetProfile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
