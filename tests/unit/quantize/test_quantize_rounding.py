"""The rounding of fake quantizers, against torch's own and that of QuantizeLinear."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tmkd_deploy.quantize.quantizers import (
    ActivationQuantizer,
    RoundedActivation,
    WeightQuantizer,
)
from tmkd_deploy.records.quant_scheme import QuantScheme


@pytest.mark.parametrize("grid", [(0.0173, 0, 0, 255), (0.3, 128, 0, 255), (0.05, 0, -128, 127)])
def test_activations_on_a_gpu_are_rounded_as_on_a_cpu(grid: tuple[float, int, int, int]) -> None:
    random = torch.Generator().manual_seed(0)
    values = torch.randn(50_000, generator=random) * 4
    # halves of a step, which go to the even number, and what is beyond the grid
    values[400:402] = torch.tensor([-500.0, 500.0]) * grid[0]
    values[:400] = torch.arange(-200, 200) * 0.5 * grid[0]
    ours, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
    found = RoundedActivation.apply(ours, *grid)
    expected = torch.fake_quantize_per_tensor_affine(theirs, *grid)
    assert torch.equal(found, expected)
    weights = torch.linspace(-1, 1, len(values))
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    assert torch.equal(ours.grad, theirs.grad)
    assert (ours.grad == 0).any(), "nothing was beyond the grid"


@pytest.mark.parametrize("quant_scheme", [QuantScheme.S8, QuantScheme.U8])
def test_weights_are_rounded_as_by_quantize_linear(quant_scheme: QuantScheme) -> None:
    quantizer = WeightQuantizer()
    quantizer.use(quant_scheme)
    weight = torch.randn(16, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    weight[4] = 0.0  # a dead channel
    weight[5] *= 1e-6  # whose scale is below FP16's normal range
    weight.requires_grad_()
    rounded = quantizer(weight)
    scale = quantizer.scale(weight).numpy().reshape(-1, 1, 1, 1)
    numbers = np.clip(np.rint(weight.detach().numpy() / scale), -128, 127)
    assert np.array_equal(rounded.detach().numpy(), numbers.astype(np.float32) * scale)
    rounded.sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))


@pytest.mark.parametrize("quantizer", [ActivationQuantizer(), WeightQuantizer()])
def test_rounding_compiles_into_one_graph(quantizer: torch.nn.Module) -> None:
    quantizer.use(QuantScheme.U8)
    values = torch.randn(8, 3, requires_grad=True)
    compiled = torch.compile(quantizer, backend="eager", fullgraph=True)
    assert torch.equal(compiled(values), quantizer(values))
