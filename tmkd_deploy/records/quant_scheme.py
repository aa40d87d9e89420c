"""How a runtime wants quantized numbers: a plain fact shared by training, export and engines."""

from __future__ import annotations

from enum import Enum


class QuantScheme(str, Enum):
    """The grid that activations and weights are rounded to.

    SIGNED: symmetric int8, zero point 0, scale = amax / 127. What TensorRT and TensorRT-RTX read;
    they take uint8 for int8 with only a warning, so the other kind must never reach them.

    UNSIGNED: uint8. Tensors that are never negative use zero point 0 and scale = amax / 255, so
    that ONNX Runtime absorbs the ReLU before them; the others use zero point 128 and amax / 127.

    Weights are int8, symmetric, with one scale for each output channel (axis 0) in both. Beside
    unsigned activations they take seven bits, from -63 to 63: x86 processors without VNNI add two
    products in 16 bits, and 2 * 255 * 63 is 32130, which just fits. With eight bits they saturate.
    """

    S8 = "signed"
    U8 = "unsigned"

    @property
    def largest_weight(self) -> int:
        """The largest integer that a weight is rounded to."""
        return 63 if self is QuantScheme.U8 else 127
