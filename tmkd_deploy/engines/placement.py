"""How a runtime wants quantized numbers: a plain fact shared by training, export and engines."""

from __future__ import annotations

from enum import Enum


class Placement(str, Enum):
    """The grid that activations are rounded to.

    SIGNED: symmetric int8, zero point 0, scale = amax / 127. What TensorRT and TensorRT-RTX read;
    they take uint8 for int8 with only a warning, so the other kind must never reach them.

    UNSIGNED: uint8. Tensors that are never negative use zero point 0 and scale = amax / 255, so
    that ONNX Runtime absorbs the ReLU before them; the others use zero point 128 and amax / 127.

    Weights are the same in both: int8, symmetric, one scale for each output channel (axis 0).
    """

    SIGNED = "signed"
    UNSIGNED = "unsigned"
