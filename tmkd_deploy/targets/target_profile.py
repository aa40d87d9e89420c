"""What a target is: one strict YAML profile per device, with the source of every figure."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tmkd_deploy.agent.telemetry.jetson import parse_tegra_release
from tmkd_deploy.artifacts import Record
from tmkd_deploy.records.types import Precision, RuntimeName

# Where each runtime's engines are built.
PLACES = {
    "onnxruntime": "here",
    "openvino": "here",
    "tensorrt_rtx": "ahead_of_time",
    "tensorrt": "on_device",
}
# What each runtime's engines compute in.
PRECISIONS: dict[RuntimeName, tuple[Precision, ...]] = {
    "onnxruntime": ("fp32", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
    "tensorrt_rtx": ("fp32", "fp16", "int8"),
    "tensorrt": ("fp32", "fp16", "int8"),
}


class Software(Record):
    """The contents of one JetPack release.

    `jetpack` includes its patch releases: "6.2" also stands for 6.2.1. `l4t` lists its releases of
    Jetson Linux, each including its patch releases. `opset_ceiling` is the newest ONNX opset that
    its TensorRT supports. `source` says where these figures come from.
    """

    jetpack: str
    tensorrt: str
    cuda: str
    python: str
    opset_ceiling: int
    l4t: list[str]
    source: str


class PowerMode(Record):
    """A mode of `nvpmodel`."""

    id: int
    name: str


class TargetProfile(Record):
    """A device to build for.

    `precisions` are in order of preference; BF16 counts only where the processor computes in it.
    `other_runtimes` can run its engines too, from the same ONNX files. `opset_ceiling` is the
    newest ONNX opset for its runtime when no device is attached. `compute_capability` is written as
    the builders write it, such as SM89. `build` says where engines are built: `here` on the machine
    that runs them, `ahead_of_time` on any machine with the builder, `on_device` on the device
    itself. `machine` is the required architecture, None for any; `device_tree` lists phrases that
    identify the device in its model name, and `modules` the numbers of its modules, such as
    p3767-0005 or p3701, which identify it whatever its carrier is called. `memory_mb` and
    `dla_cores` are those of the smallest module of the family, and `workspace_mb` is what a builder
    may use. `power_modes` start with the fastest. `software` starts with the release that is
    assumed when no device is attached. `sources` names the source of each figure.
    """

    name: str
    title: str
    runtime: RuntimeName
    other_runtimes: list[RuntimeName] = Field(default_factory=list)
    precisions: Annotated[list[Precision], Field(min_length=1)]
    opset_ceiling: int
    compute_capability: str | None
    build: Literal["here", "ahead_of_time", "on_device"]
    machine: Literal["x86_64", "aarch64"] | None
    device_tree: list[str]
    modules: list[str] = Field(default_factory=list)
    memory_mb: int | None
    workspace_mb: int | None
    dla_cores: int
    power_modes: list[PowerMode]
    software: list[Software]
    sources: dict[str, str]
    notes: str

    @model_validator(mode="after")
    def _sound(self) -> TargetProfile:
        if self.build != PLACES[self.runtime]:
            raise ValueError(f"{self.runtime} requires build: {PLACES[self.runtime]}")
        if any(PLACES[each] != self.build for each in self.other_runtimes):
            raise ValueError(f"engines of other_runtimes must be built where {self.runtime}'s are")
        if self.runtime in self.other_runtimes:
            raise ValueError(f"{self.runtime} is no other runtime")
        if self.build != "here" and self.compute_capability is None:
            raise ValueError(f"{self.runtime} needs a compute_capability")
        return self

    def is_machine(self, machine: str) -> bool:
        """Whether `machine`, as from `platform.machine()`, is an architecture of this target."""
        known = {"amd64": "x86_64", "arm64": "aarch64"}
        return self.machine in (None, known.get(machine.lower(), machine.lower()))

    def describes(self, model: str | None) -> bool:
        """Whether a device with this `model` in its device tree is this target."""
        words = set((model or "").lower().split())
        return any(set(phrase.lower().split()) <= words for phrase in self.device_tree)

    def has_module(self, compatible: str) -> bool:
        """Whether an entry of a device tree's `compatible` has the number of one of its modules."""
        numbers = re.findall(r"p\d{4}-\d{4}", compatible)
        return any(number.startswith(module) for number in numbers for module in self.modules)

    def release(self, jetpack: str | None, l4t: str | None) -> Software | None:
        """The release on a device, identified by its JetPack or, without one, its Jetson Linux."""
        if jetpack:
            return next((row for row in self.software if _is_of(jetpack, row.jetpack)), None)
        revision = _l4t_release(l4t)
        rows = [(row, start) for row in self.software for start in row.l4t]
        return next((row for row, start in rows if _is_of(revision, start)), None)


def _l4t_release(text: str | None) -> str:
    """`36.4.3` from that, or from the first line of /etc/nv_tegra_release; empty if None."""
    return parse_tegra_release(text or "") or text or ""


def _is_of(version: str, release: str) -> bool:
    """Whether `version`, such as 6.2.1+b38, is `release` or a patch release of it."""
    number = re.match(r"[\d.]*", version)
    parts = number[0].split(".") if number else []
    start = release.split(".")
    return parts[: len(start)] == start
