"""The ONNX files that are exported and what the export stage records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tmkd_deploy.artifacts import Record
from tmkd_deploy.records.figures import AtLeastOne, Count, NotNegative, Share
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.types import FloatPrecision, Precision

MODEL = "model.onnx"
INPUT = "images"
OUTPUT = "logits"
# metadata key of a node: the module of the user's model that it was exported from
MODULE = "tmkd_deploy.module"
# metadata key of a file: its quantization scheme
QUANT_SCHEME = "tmkd_deploy.quant_scheme"


@dataclass(frozen=True)
class Variant:
    """One ONNX file: its model, its precision and, for INT8, what the runtime expects.

    `float_precision` is the type of everything that is not quantized. An `opset` of None means the
    recipe's; a number is for targets that read only opsets older than a recipe may request.
    """

    model: Literal["teacher", "student"]
    precision: Precision
    quant_scheme: QuantScheme | None = None
    float_precision: FloatPrecision = "fp32"
    opset: int | None = None

    @property
    def name(self) -> str:
        """A name for folders and messages, such as `student-int8-signed-fp16`."""
        parts: list[str] = [self.model, self.precision]
        if self.quant_scheme:
            parts += [self.quant_scheme.value, self.float_precision]
        if self.opset:
            parts.append(f"opset{self.opset}")
        return "-".join(parts)

    @property
    def float_weights(self) -> bool:
        """Whether quantized weights are stored in floating point, as TensorRT 8 requires."""
        return self.quant_scheme is QuantScheme.S8 and self.opset is not None


class OnnxRecord(Record):
    """One exported ONNX model.

    `largest_difference` is the largest difference between ONNX and torch logits over the parity
    images, relative to the largest logit; None if FP16 overflows on this machine. `agreement` is
    the share of those images with the same predicted class.
    """

    variant: str
    opset: AtLeastOne
    bytes: AtLeastOne
    largest_difference: NotNegative | None
    agreement: Share
    parity_images: AtLeastOne
    quantize_linear: Count
    dequantize_linear: Count
    int8_weights: Count


class Compared(Record):
    """An alternative quantization of the student, measured for comparison; it never ships.

    `precise_int8` says whether it runs with arithmetic that cannot saturate.
    """

    name: str
    label: str
    file: str
    precise_int8: bool


class ComparedRecord(Record):
    """The alternative quantizations of the student."""

    files: list[Compared]
