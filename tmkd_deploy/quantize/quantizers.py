"""Fake quantizers: they round in training and become Q and DQ nodes in the exported graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from tmkd_deploy.quantize.calibration import Collector
from tmkd_deploy.records.quant_scheme import QuantScheme

_SMALLEST_SCALE = 1e-8
# what torch takes as the attribute of an ONNX node
_Attribute = (
    int | float | str | bool | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bool]
)


class ActivationQuantizer(nn.Module):
    """Rounds one tensor to eight bits with a single scale.

    `amax` is the largest magnitude represented; `non_negative` whether calibration saw no negative
    value. `wanted_by` names the layers, additions and poolings that want the tensor rounded. Until
    `use` is called the tensor passes unchanged; while `collector` is set it is observed.
    """

    amax: Tensor
    non_negative: Tensor

    def __init__(self, wanted_by: Iterable[str] = ()) -> None:
        super().__init__()
        self.wanted_by = frozenset(wanted_by)
        self.register_buffer("amax", torch.tensor(1.0))
        self.register_buffer("non_negative", torch.tensor(False))
        self.collector: Collector | None = None
        self.grid: tuple[float, int, torch.dtype] | None = None

    def use(self, quant_scheme: QuantScheme | None) -> None:
        """Round to the grid of `placement` from now on; None switches rounding off.

        The grid is kept as plain numbers, because an exporter cannot look into a buffer.
        """
        amax = max(float(self.amax), _SMALLEST_SCALE * 255.0)
        if quant_scheme is None:
            self.grid = None
        elif quant_scheme is QuantScheme.S8:
            self.grid = amax / 127.0, 0, torch.int8
        elif bool(self.non_negative):
            self.grid = amax / 255.0, 0, torch.uint8
        else:
            self.grid = amax / 127.0, 128, torch.uint8

    def forward(self, values: Tensor) -> Tensor:
        """`values` of any shape, float32, rounded to the grid; the gradient passes unchanged."""
        if self.collector is not None:
            self.collector.see(values)
            return values
        if self.grid is None:
            return values
        scale, zero_point, kind = self.grid
        if torch.onnx.is_in_onnx_export():
            return _through_onnx(
                values, torch.tensor(scale), torch.tensor(zero_point, dtype=kind), None
            )
        limits = torch.iinfo(kind)
        return torch.fake_quantize_per_tensor_affine(
            values, scale, zero_point, limits.min, limits.max
        )


class WeightQuantizer(nn.Module):
    """Rounds a weight to int8 with one scale for each output channel (axis 0).

    The scale follows the weight, amax over the placement's largest integer, so folding a batch norm
    into the weight later scales both alike and changes no rounding.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enabled = False
        self.largest = 127
        self.fixed_scale: Tensor | None = None

    def use(self, quant_scheme: QuantScheme | None) -> None:
        """Round to the grid of `placement` from now on; None switches rounding off."""
        self.enabled = quant_scheme is not None
        if quant_scheme is not None:
            self.largest = quant_scheme.largest_weight

    def scale(self, weight: Tensor) -> Tensor:
        """The scale of each output channel of `weight` [out, ...]: [out]."""
        largest = weight.detach().flatten(1).abs().amax(dim=1)
        return (largest / self.largest).clamp(min=_SMALLEST_SCALE)

    def forward(self, weight: Tensor) -> Tensor:
        """`weight` [out, ...], float32, rounded; the gradient passes unchanged."""
        if not self.enabled:
            return weight
        if torch.onnx.is_in_onnx_export():
            if self.fixed_scale is None:
                raise AssertionError("fix the scales before exporting")
            zeros = torch.zeros_like(self.fixed_scale, dtype=torch.int8)
            return _through_onnx(weight, self.fixed_scale, zeros, 0)
        scale = self.scale(weight)
        zeros = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -128, 127)


def _through_onnx(values: Tensor, scale: Tensor, zero_point: Tensor, axis: int | None) -> Tensor:
    """The pair QuantizeLinear and DequantizeLinear in the graph being exported."""
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
