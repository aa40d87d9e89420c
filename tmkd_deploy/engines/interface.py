"""What a runtime must offer. One runtime is one file beside this one."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from tmkd_deploy.engines.placement import Placement
from tmkd_deploy.errors import DataError
from tmkd_deploy.export.facts import Variant
from tmkd_deploy.measure.results import EngineFile
from tmkd_deploy.targets.profile import TargetProfile


class Session(Protocol):
    """An engine loaded and ready on the machine it runs on."""

    def infer(self, images: np.ndarray) -> np.ndarray:
        """Raw pixels uint8 [N, H, W, 3] to logits float32 [N, C]."""


class Runtime(Protocol):
    """Builds engines for a kind of device and, where it can, runs them here.

    `placement` is how it wants INT8 graphs, `rest` the type of what is not quantized in them.
    `runs_here` says whether `open` works on this machine, so that engines can be measured.
    """

    name: str
    placement: Placement
    rest: str
    runs_here: bool

    def build(
        self, onnx: Path, precision: str, image_size: int, profile: TargetProfile, folder: Path
    ) -> EngineFile:
        """Build the engine for one precision from `onnx` and write it into `folder`.

        Raises:
            MissingExtra: the builder is not installed.
            EnvironmentProblem: the builder refuses the model; its own words are passed on.
            DataError: the model was exported for another runtime.
        """

    def open(self, engine: Path, threads: int) -> Session:
        """Load an engine that `build` wrote."""


def variant_for(runtime: Runtime, precision: str) -> Variant:
    """The ONNX file of the student that `runtime` builds `precision` from."""
    if precision == "int8":
        return Variant("student", "int8", runtime.placement, runtime.rest)  # type: ignore[arg-type]
    return Variant("student", precision)  # type: ignore[arg-type]


def refuse_other_placement(onnx_file: Path, wanted: Placement) -> None:
    """Raise where an INT8 model was exported for a runtime with another placement.

    Raises:
        DataError: it is no ONNX graph, or its tag names another placement; TensorRT, for one,
            would read uint8 as int8 with no more than a warning, and accuracy would be gone.
    """
    import onnx  # noqa: PLC0415 - only builders need it
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    unreadable = DataError(
        "The file is no ONNX graph.", where=str(onnx_file), advice="Export the student again."
    )
    try:
        proto = onnx.load(str(onnx_file), load_external_data=False)
    except DecodeError as error:
        raise unreadable from error
    if not proto.graph.node:
        # stray bytes may well be "parsed" into an empty graph
        raise unreadable
    tags = {entry.key: entry.value for entry in proto.metadata_props}
    placement = tags.get("tmkd_deploy.placement", "none")
    if placement not in ("none", wanted.value):
        raise DataError(
            f"This model was quantized for another runtime: its activations are {placement}, "
            f"and {wanted.value} ones are needed.",
            where=str(onnx_file),
            advice="Export the student for this target instead of taking another target's file.",
        )
