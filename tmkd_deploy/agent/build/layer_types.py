"""How the types of an engine's layers are chosen, and when to choose differently."""

from __future__ import annotations

from typing import Any, NamedTuple


class Typing(NamedTuple):
    """`strong` or `flags`, with what it means for the network and for the builder."""

    name: str
    network_flags: int
    builder_flags: list[str]


def choose_typing(trt: Any, requested: str, precision: str, dla: bool) -> Typing:
    """Strong typing (`strong`) or builder flags (`flags`), whichever this release supports.

    With strong typing each layer computes in the type that the ONNX file gives it. With flags the
    builder may choose among the named types; the Q/DQ pairs of an INT8 file still decide what is
    INT8. TensorRT 8 supports only flags, 10 both, 11 and RTX only strong typing. The DLA of 10
    needs flags: https://github.com/NVIDIA/TensorRT/issues/4228.
    """
    creation = trt.NetworkDefinitionCreationFlag
    strong = getattr(creation, "STRONGLY_TYPED", None)
    has_flags = hasattr(trt.BuilderFlag, "INT8")
    if strong is not None and ((requested == "strong" and not dla) or not has_flags):
        return Typing("strong", 1 << int(strong), [])
    # TensorRT 8 needs it to make the batch a dimension; 11 has dropped the name
    explicit = getattr(creation, "EXPLICIT_BATCH", None)
    types = {"int8": ["INT8", "FP16"], "fp16": ["FP16"], "fp32": []}[precision]
    return Typing("flags", 0 if explicit is None else 1 << int(explicit), types)


def try_flags(used: str, has_flags: bool, precision: str, words: str) -> bool:
    """Whether to build once more, with flags, after a builder failed with these words.

    On Orin, Myelin, a compiler within TensorRT, fails on INT8 that the same release builds on Thor:
    https://github.com/NVIDIA/TensorRT/issues/4832, with 10.16.2 and strong typing. With flags the
    builder may compute such layers in another type. Without memory it would fail again.
    """
    said = words.lower().replace(" ", "")
    in_myelin = "myelin" in said and "outofmemory" not in said
    return used == "strong" and has_flags and precision == "int8" and in_myelin


def fallback_warning(words: str) -> str:
    """What to tell of an engine that was built with flags after strong typing failed."""
    return (
        "TensorRT's compiler failed on the INT8 engine with strong typing, so it was built with "
        f"the flags INT8 and FP16, among which the builder chooses: {words[:300]}"
    )
