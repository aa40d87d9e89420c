"""The profiles there are, shipped or of the user's own, by name."""

from __future__ import annotations

import functools
from pathlib import Path

import yaml

from tmkd_deploy.errors import RequestError
from tmkd_deploy.suggestions import did_you_mean
from tmkd_deploy.targets import custom_profiles
from tmkd_deploy.targets.target_profile import TargetProfile

PROFILES = Path(__file__).parent / "profiles"

# A plain `jetson` is the smallest one, so that what is built for it fits every Orin's figures.
ALIASES = {"jetson": "jetson-orin-nano"}


def names() -> list[str]:
    """The names of all profiles, in alphabetical order."""
    return sorted(_files())


def aliases() -> dict[str, str]:
    """Short names and the profiles they stand for."""
    return dict(ALIASES)


def canonical(name: str) -> str:
    """The profile name that `name` stands for; a name that is no alias stays as it is."""
    return ALIASES.get(name, name)


def get(name: str) -> TargetProfile:
    """The profile called `name`, which may be an alias.

    Raises:
        RequestError: there is none (the nearest names are offered), or a profile of the user's own
            does not fit.
    """
    files = _files()
    path = files.get(canonical(name))
    if path is None:
        raise RequestError(
            f"There is no target {name!r}.",
            advice=f"{did_you_mean(name, [*files, *ALIASES])} "
            "See them all with: tmkd-deploy targets list",
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
