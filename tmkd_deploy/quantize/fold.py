"""Folding batch norms into the convolutions before them, exactly, weight rounding included."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from tmkd_deploy.quantize.insert import BATCH_NORMS


def fold_batch_norms(network: fx.GraphModule) -> None:
    """Fold every batch norm that directly follows a convolution or linear layer.

    The weight is multiplied by gamma / sigma for each output channel. Its scale is the channel's
    largest magnitude over 127, so weight and scale grow alike and every integer stays what it was,
    its sign apart where gamma is negative.
    """
    network.eval()
    modules = dict(network.named_modules())
    for node in list(network.graph.nodes):
        if node.op != "call_module" or not isinstance(modules[str(node.target)], BATCH_NORMS):
            continue
        source = node.all_input_nodes[0]
        layer = modules.get(str(source.target)) if source.op == "call_module" else None
        if not isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Linear)) or len(source.users) != 1:
            continue
        norm = modules[str(node.target)]
        _fold(layer, norm)
        network.set_submodule(str(node.target), _what_follows(norm))
    network.recompile()


def _fold(layer: nn.Conv1d | nn.Conv2d | nn.Linear, norm: nn.Module) -> None:
    weight = _original(layer)
    with torch.no_grad():
        gamma = norm.weight if norm.weight is not None else torch.ones_like(norm.running_mean)  # type: ignore[arg-type,call-overload]
        beta = norm.bias if norm.bias is not None else torch.zeros_like(norm.running_mean)  # type: ignore[arg-type,call-overload]
        factor = gamma / torch.sqrt(norm.running_var + norm.eps)  # type: ignore[operator]
        bias = layer.bias if layer.bias is not None else torch.zeros_like(beta)
        folded = beta + (bias - norm.running_mean) * factor  # type: ignore[operator]
        weight.mul_(factor.view(-1, *[1] * (weight.ndim - 1)))
    layer.bias = nn.Parameter(folded.detach())


def _original(layer: nn.Module) -> Tensor:
    if parametrize.is_parametrized(layer, "weight"):
        return layer.parametrizations.weight.original  # type: ignore[union-attr,return-value]
    return layer.weight  # type: ignore[return-value]


def _what_follows(norm: nn.Module) -> nn.Module:
    """The activation that timm builds into some batch norms, or nothing."""
    activation = getattr(norm, "act", None)
    return activation if isinstance(activation, nn.Module) else nn.Identity()
