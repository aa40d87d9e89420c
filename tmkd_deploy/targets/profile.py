"""What a target is: one YAML profile a device, closed and with the source of every figure."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal

import yaml

from tmkd_deploy.artifacts import Facts
from tmkd_deploy.errors import RequestError
from tmkd_deploy.recipe.names import did_you_mean

PROFILES = Path(__file__).parent / "profiles"

# A plain `jetson` is the smallest one, so that what is built for it fits every Orin's figures.
ALIASES = {"jetson": "jetson-orin-nano"}

Precision = Literal["fp32", "fp16", "int8"]


class Software(Facts):
    """One software release seen on a device."""

    jetpack: str
    tensorrt: str
    cuda: str | None = None


class TargetProfile(Facts):
    """A device to build for.

    `precisions` are in order of preference. `opset_ceiling` is the newest ONNX opset that its
    runtime may be given. `compute_capability` is written as the builders write it, such as SM89.
    `build` says where an engine comes to be: `here` on the machine that runs it, `ahead_of_time`
    on any machine with the builder, `on_device` from a build kit. `memory_mb` is that of the
    smallest module of the family. `sources` names, for each figure, where it was read.
    """

    name: str
    title: str
    runtime: Literal["onnxruntime", "tensorrt_rtx", "tensorrt"]
    precisions: list[Precision]
    opset_ceiling: int
    compute_capability: str | None
    build: Literal["here", "ahead_of_time", "on_device"]
    memory_mb: int | None
    software: list[Software]
    sources: dict[str, str]
    notes: str


def names() -> list[str]:
    """The names of all profiles, in alphabetical order."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def aliases() -> dict[str, str]:
    """Short names and the profiles they stand for."""
    return dict(ALIASES)


def canonical(name: str) -> str:
    """The profile name that `name` stands for; a name that is no alias stays as it is."""
    return ALIASES.get(name, name)


@functools.cache
def get(name: str) -> TargetProfile:
    """The profile called `name`, which may be an alias.

    Raises:
        RequestError: there is none; the nearest names are offered.
    """
    known = names()
    if canonical(name) not in known:
        raise RequestError(
            f"There is no target {name!r}.",
            advice=f"{did_you_mean(name, [*known, *ALIASES])} "
            "See them all with: tmkd-deploy targets list",
        )
    path = PROFILES / f"{canonical(name)}.yaml"
    return TargetProfile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
