"""Exact folding of batch norms into the preceding layers, weight rounding included."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from tmkd_deploy.quantize.insert import BATCH_NORMS


def fold_batch_norms(network: fx.GraphModule) -> None:
    """Fold every batch norm that directly follows a convolution or linear layer.

    Each output channel of the weight is multiplied by gamma / sigma. The weight's scale is
    proportional to the channel's largest magnitude, so both change by the same factor and all
    integers stay the same, except for their sign where gamma is negative.
    """
    network.eval()
    modules = dict(network.named_modules())
    for node in list(network.graph.nodes):
        norm = modules[str(node.target)] if node.op == "call_module" else None
        if not isinstance(norm, BATCH_NORMS):
            continue
        source = node.all_input_nodes[0]
        layer = modules.get(str(source.target)) if source.op == "call_module" else None
        if not isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Linear)) or len(source.users) != 1:
            continue
        _fold(layer, norm)
        network.set_submodule(str(node.target), _fused_activation(norm))
    network.recompile()


def _fold(layer: nn.Conv1d | nn.Conv2d | nn.Linear, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    weight = _stored_weight(layer)
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise AssertionError("a batch norm without running statistics cannot be folded")
    with torch.no_grad():
        gamma = norm.weight if norm.affine else torch.ones_like(mean)
        beta = norm.bias if norm.affine else torch.zeros_like(mean)
        factor = gamma / torch.sqrt(variance + norm.eps)
        bias = layer.bias if layer.bias is not None else torch.zeros_like(beta)
        folded = beta + (bias - mean) * factor
        weight.mul_(factor.view(-1, *[1] * (weight.ndim - 1)))
    layer.bias = nn.Parameter(folded.detach())


def _stored_weight(layer: nn.Conv1d | nn.Conv2d | nn.Linear) -> Tensor:
    if not parametrize.is_parametrized(layer, "weight"):
        return layer.weight
    return layer.get_parameter("parametrizations.weight.original")


def _fused_activation(norm: nn.Module) -> nn.Module:
    """The activation that timm includes in some batch norms, otherwise the identity."""
    activation = getattr(norm, "act", None)
    return activation if isinstance(activation, nn.Module) else nn.Identity()
