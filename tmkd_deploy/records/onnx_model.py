"""What is exported, and what the export stage records; readable without torch or onnx."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tmkd_deploy.artifacts import Record
from tmkd_deploy.records.quant_scheme import QuantScheme

MODEL = "model.onnx"
INPUT = "images"
OUTPUT = "logits"
# under this key a node carries the module of the user's model that it comes from
MODULE = "tmkd_deploy.module"


@dataclass(frozen=True)
class Variant:
    """One ONNX file: whose it is, its precision, and for INT8 what the runtime expects.

    `rest` is the type of everything that is not quantized. An `opset` of None is the recipe's; a
    number is for targets that read none which a recipe may ask for.
    """

    model: Literal["teacher", "student"]
    precision: Literal["fp32", "fp16", "int8"]
    quant_scheme: QuantScheme | None = None
    rest: Literal["fp32", "fp16"] = "fp32"
    opset: int | None = None

    @property
    def name(self) -> str:
        """A name for folders and messages, such as student-int8-signed-fp16."""
        parts: list[str] = [self.model, self.precision]
        if self.quant_scheme:
            parts += [self.quant_scheme.value, self.rest]
        if self.opset:
            parts.append(f"opset{self.opset}")
        return "-".join(parts)

    @property
    def float_weights(self) -> bool:
        """Whether quantized weights are stored in floating point, as TensorRT 8 reads them."""
        return self.quant_scheme is QuantScheme.S8 and self.opset is not None


class OnnxRecord(Record):
    """One exported ONNX model.

    `largest_difference` is that between ONNX and torch over the parity images, as a share of the
    largest logit; `agreement` the share of those images with the same top-1.
    """

    variant: str
    opset: int
    bytes: int
    largest_difference: float
    agreement: float
    parity_images: int
    quantize_linear: int
    dequantize_linear: int
    int8_weights: int


class Compared(Record):
    """An ONNX file of the student that is measured beside the engines and never ships.

    `precise_int8` says whether it is run with arithmetic that cannot saturate.
    """

    name: str
    label: str
    file: str
    precise_int8: bool


class ComparedRecord(Record):
    """The files of other ways to quantize."""

    files: list[Compared]
