"""Fake quantizers: they round during training and export as QuantizeLinear/DequantizeLinear."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tmkd_deploy.quantize.calibration import MagnitudeHistogram
from tmkd_deploy.records.quant_scheme import QuantScheme

# FP16's numbers below its smallest normal one are the multiples of its smallest
_FP16_SMALLEST, _FP16_SMALLEST_NORMAL = 2.0**-24, 2.0**-14
# the attribute types of torch.onnx.ops.symbolic
_Attribute = (
    int | float | str | bool | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bool]
)


class ActivationQuantizer(nn.Module):
    """Rounds one tensor to eight bits with a single scale.

    `amax` is the largest magnitude represented; `non_negative` tells whether calibration saw no
    negative value. `consumers` names the layers, additions and poolings that need the tensor
    quantized. Until `use` is called tensors pass unchanged; while `histogram` is set, they are
    counted there.
    """

    amax: Tensor
    non_negative: Tensor

    def __init__(self, consumers: Iterable[str] = ()) -> None:
        super().__init__()
        self.consumers = frozenset(consumers)
        self.register_buffer("amax", torch.tensor(1.0))
        self.register_buffer("non_negative", torch.tensor(False))
        self.histogram: MagnitudeHistogram | None = None
        self.grid: tuple[float, int, torch.dtype] | None = None

    def use(self, quant_scheme: QuantScheme | None) -> None:
        """Round to the grid of `quant_scheme` from now on; None disables rounding.

        The grid is stored as Python numbers, because the exporter cannot read a buffer.
        """
        amax = self.amax.double()
        if quant_scheme is None:
            self.grid = None
        elif quant_scheme is QuantScheme.S8:
            self.grid = float(_kept_by_fp16(amax / 127.0)), 0, torch.int8
        elif bool(self.non_negative):
            self.grid = float(_kept_by_fp16(amax / 255.0)), 0, torch.uint8
        else:
            self.grid = float(_kept_by_fp16(amax / 127.0)), 128, torch.uint8

    def forward(self, values: Tensor) -> Tensor:
        """`values` of any shape, float32, rounded to the grid; straight-through gradient."""
        if self.histogram is not None:
            self.histogram.update(values)
            return values
        if self.grid is None:
            return values
        scale, zero_point, kind = self.grid
        if torch.onnx.is_in_onnx_export():
            return _onnx_quantize_dequantize(
                values, torch.tensor(scale), torch.tensor(zero_point, dtype=kind), None
            )
        limits = torch.iinfo(kind)
        grid = scale, zero_point, limits.min, limits.max
        if values.device.type == "cpu" and not torch.compiler.is_compiling():
            return torch.fake_quantize_per_tensor_affine(values, *grid)
        rounded: Tensor = RoundedActivation.apply(values, *grid)
        return rounded


class WeightQuantizer(nn.Module):
    """Rounds a weight to int8 with one scale per output channel (axis 0).

    The scale follows the weight: its amax divided by the scheme's largest integer. Folding a batch
    norm into the weight therefore changes both by the same factor and leaves the integers as they
    are, unless the scale is below FP16's normal range.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enabled = False
        self.largest = 127
        self.frozen_scale: Tensor | None = None

    def use(self, quant_scheme: QuantScheme | None) -> None:
        """Round to the grid of `quant_scheme` from now on; None disables rounding."""
        self.enabled = quant_scheme is not None
        if quant_scheme is not None:
            self.largest = quant_scheme.largest_weight

    def scale(self, weight: Tensor) -> Tensor:
        """The scales [out] of a weight [out, ...]."""
        largest = weight.detach().flatten(1).abs().amax(dim=1)
        return _kept_by_fp16(largest / self.largest)

    def forward(self, weight: Tensor) -> Tensor:
        """`weight` [out, ...], float32, rounded; straight-through gradient."""
        if not self.enabled:
            return weight
        if torch.onnx.is_in_onnx_export():
            if self.frozen_scale is None:
                raise AssertionError("call freeze_weight_scales before exporting")
            zeros = torch.zeros_like(self.frozen_scale, dtype=torch.int8)
            return _onnx_quantize_dequantize(weight, self.frozen_scale, zeros, 0)
        rounded: Tensor = _RoundedWeight.apply(weight, self.scale(weight))
        return rounded


class RoundedActivation(torch.autograd.Function):
    """What torch.fake_quantize_per_tensor_affine computes, which cannot be compiled.

    On a CPU torch's function is faster. Values beyond the grid have no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, scale: float, zero_point: int, low: int, high: int
    ) -> Tensor:
        """`values` of any shape, rounded to the integers from `low` to `high` times `scale`."""
        inverse = 1.0 / torch.full((), scale, dtype=values.dtype, device=values.device)
        steps = (values * inverse).round_()
        low, high = low - zero_point, high - zero_point
        ctx.save_for_backward((steps >= low) & (steps <= high))
        return steps.clamp_(low, high).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient where values were within the grid."""
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None, None, None


class _RoundedWeight(torch.autograd.Function):
    """A weight [out, ...] rounded to multiples of the scales [out]; straight-through gradient.

    As QuantizeLinear and DequantizeLinear: divided by the scale, rounded half to even. torch's own
    function multiplies by the reciprocal, and makes the host wait for a GPU to check zero points.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor) -> Tensor:
        steps = scale.view(-1, *[1] * (weight.ndim - 1))
        return (weight / steps).round_().clamp_(-128, 127).mul_(steps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def _kept_by_fp16(scale: Tensor) -> Tensor:
    """Scales of any shape, those below FP16's normal range rounded up to its numbers.

    Files for TensorRT have FP16 scales. Rounded there for the first time, a small scale would no
    longer be that of its integers, and one that became zero would be refused.
    """
    steps = (scale / _FP16_SMALLEST).ceil().clamp(min=1.0)
    return torch.where(scale < _FP16_SMALLEST_NORMAL, steps * _FP16_SMALLEST, scale)


def _onnx_quantize_dequantize(
    values: Tensor, scale: Tensor, zero_point: Tensor, axis: int | None
) -> Tensor:
    """QuantizeLinear and DequantizeLinear in the exported graph."""
    attributes: dict[str, _Attribute] = {} if axis is None else {"axis": axis}
    quantized = torch.onnx.ops.symbolic(
        "QuantizeLinear",
        (values, scale, zero_point),
        attributes,
        dtype=zero_point.dtype,
        shape=values.shape,
        version=19,
    )
    return torch.onnx.ops.symbolic(
        "DequantizeLinear",
        (quantized, scale, zero_point),
        attributes,
        dtype=torch.float32,
        shape=values.shape,
        version=19,
    )
