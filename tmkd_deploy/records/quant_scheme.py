"""The quantization schemes of the runtimes, shared by training, export and engines."""

from __future__ import annotations

from enum import Enum


class QuantScheme(str, Enum):
    """The grid that activations and weights are rounded to.

    S8: symmetric int8, zero point 0, scale = amax / 127. Required by TensorRT and TensorRT-RTX,
    which interpret uint8 as int8 with only a warning and must therefore never receive U8.

    U8: uint8. Tensors that are never negative use zero point 0 and scale = amax / 255, so that ONNX
    Runtime fuses the preceding ReLU; the others use zero point 128 and scale = amax / 127. OpenVINO
    reads the same files.

    In both, weights are symmetric int8 with one scale per output channel (axis 0). With U8 they use
    seven bits, -63 to 63: x86 processors without VNNI add two products in 16 bits, and
    2 * 255 * 63 = 32130 just fits, while eight bits would saturate.
    """

    S8 = "signed"
    U8 = "unsigned"

    @property
    def largest_weight(self) -> int:
        """The largest integer of a quantized weight."""
        return 63 if self is QuantScheme.U8 else 127
