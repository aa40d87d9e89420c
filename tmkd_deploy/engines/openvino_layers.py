"""The layers that OpenVINO compiles a model to on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import openvino

_WEIGHTED = {"Convolution", "Deconvolution", "FullyConnected", "MatMul"}
INTEGERS = {"u8", "i8"}


class CompiledLayer(NamedTuple):
    """One layer: its name, its kind such as Convolution, and its input's type such as u8 or f32.

    `sources` are the names of what it was fused from, its own first.
    """

    name: str
    kind: str
    computes_in: str
    sources: tuple[str, ...]

    @property
    def is_weighted(self) -> bool:
        """Whether it is a convolution or a matrix product."""
        return self.kind in _WEIGHTED


def compiled_layers(compiled: openvino.CompiledModel) -> list[CompiledLayer]:
    """The layers in the order in which they run, without constants."""
    found = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = {name: str(value.astype(str)) for name, value in node.get_rt_info().items()}
        layer = CompiledLayer(
            node.get_friendly_name(),
            facts["layerType"],
            facts["runtimePrecision"],
            tuple(facts["originalLayersNames"].split(",")),
        )
        if layer.kind not in ("Const", "Input", "Output"):
            found.append((int(facts["execOrder"]), layer))
    return [layer for _, layer in sorted(found)]


def count_int8(layers: Sequence[CompiledLayer]) -> tuple[int, int]:
    """How many convolutions and matrix products run in INT8, and how many there are."""
    weighted = [layer for layer in layers if layer.is_weighted]
    return sum(layer.computes_in in INTEGERS for layer in weighted), len(weighted)
