"""Emulating in PyTorch how the engines of a quantization scheme compute a student."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.utils import parametrize

from tmkd_deploy.quantize.insert import source_of, use_quant_scheme, weighted_layers
from tmkd_deploy.quantize.quantizers import ActivationQuantizer, WeightQuantizer
from tmkd_deploy.records.quant_scheme import QuantScheme

# what ONNX Runtime fuses into an integer layer; nn.Identity is a folded batch norm
_FUSED = (nn.Identity, nn.Dropout, nn.ReLU, nn.Hardtanh)
_RELUS = (F.relu, F.relu6, torch.relu)


def use_engine_arithmetic(network: nn.Module, quant_scheme: QuantScheme | None) -> None:
    """Use `quant_scheme` permanently: quantize activations, weights and, where engines do, biases.

    ONNX Runtime adds biases as int32, in steps of the input's scale times the weight's scale, in
    every layer that it computes in integers: those whose output, directly or after a ReLU, is
    quantized. Where few products are summed, as in depthwise convolutions, that step is not small
    compared with the output's. TensorRT adds biases in floating point. Batch norms must be folded.
    With None the network computes in float32.
    """
    use_quant_scheme(network, quant_scheme)
    if quant_scheme is not QuantScheme.U8 or not isinstance(network, fx.GraphModule):
        return
    layers = weighted_layers(network)
    modules = dict(network.named_modules())
    for node in network.graph.nodes:
        layer = layers.get(str(node.target)) if node.op == "call_module" else None
        if layer is None or not parametrize.is_parametrized(layer, "weight"):
            continue
        source = modules.get(str(source_of(node.all_input_nodes[0], modules).target))
        if isinstance(source, ActivationQuantizer) and _output_is_quantized(node, modules):
            _round_bias(layer, source)


def _output_is_quantized(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    while len(node.users) == 1:
        node = next(iter(node.users))
        successor = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(successor, ActivationQuantizer):
            return True
        relu = node.op == "call_function" and node.target in _RELUS
        if not relu and not isinstance(successor, _FUSED):
            return False
    return False


def _round_bias(layer: nn.Module, source: ActivationQuantizer) -> None:
    bias, quantizer = layer.bias, layer.get_submodule("parametrizations.weight.0")
    if source.grid is None or not isinstance(bias, nn.Parameter):
        return
    assert isinstance(quantizer, WeightQuantizer)
    original = layer.get_parameter("parametrizations.weight.original")
    step = quantizer.scale(original) * source.grid[0]
    with torch.no_grad():
        bias.copy_((bias / step).round() * step)
