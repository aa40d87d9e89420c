"""Inserting fake quantizers: one placement, and therefore one training, for every runtime.

Quantized are all inputs of every convolution, linear layer, addition and pooling, and their outputs
after the batch norm and activation that follow. ONNX Runtime needs all of these to keep complete
blocks in integers; TensorRT builds the same integer layers from them as from a minimal placement.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.models import get_notrace_functions, get_notrace_modules
from torch import fx, nn
from torch.nn.utils import parametrize

from tmkd_deploy.errors import RequestError
from tmkd_deploy.models.classifier import Classifier
from tmkd_deploy.models.network import line_of
from tmkd_deploy.quantize.quantizers import ActivationQuantizer, WeightQuantizer
from tmkd_deploy.records.layer_names import user_name
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.suggestions import did_you_mean, nearest

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)
_POOLS = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.SiLU, nn.GELU, nn.Hardswish, nn.LeakyReLU)
# their outputs are input values and thus already on the grid; another pair of Q and DQ with a
# different scale would keep a max pooling in floating point
_TRANSPARENT = (nn.Identity, nn.Dropout, nn.Flatten, nn.MaxPool2d)
# functions by themselves, and methods of tensors by their names
_TRANSPARENT_CALLS: set[Any] = {
    torch.flatten,
    F.max_pool2d,
    F.dropout,
    "flatten",
    "view",
    "reshape",
}
_ACTIVATION_CALLS: set[Any] = {
    *(F.relu, F.relu_, F.relu6, F.hardtanh, F.silu, F.gelu, F.hardswish, F.leaky_relu),
    *(torch.relu, torch.relu_, "relu", "relu_"),
}
_JOINS = {operator.add, operator.iadd, torch.add, torch.cat, operator.mul, torch.mul}
_POOL_FUNCTIONS = {F.avg_pool2d, F.adaptive_avg_pool2d}


class _Tracer(fx.Tracer):
    """Does not trace into layers, including subclasses of convolutions and batch norms."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=tuple(get_notrace_functions()))
        self._leaves = (*_WEIGHTED, *BATCH_NORMS, *get_notrace_modules())

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._leaves) or super().is_leaf_module(m, module_qualified_name)


def insert_quantizers(classifier: Classifier, exclude_layers: Iterable[str] = ()) -> fx.GraphModule:
    """Replace the classifier's network by one with fake quantizers, and return it.

    `exclude_layers` names convolutions and linear layers, as `weighted_layers` lists them, that
    stay in floating point, and so do additions, products and poolings among them.

    Raises:
        RequestError: the network cannot be traced, or `exclude_layers` names an unknown layer.
    """
    network = classifier.network
    try:
        traced = fx.GraphModule(network, _Tracer().trace(network))
    except Exception as error:  # a user's module may raise anything when it sees no values
        raise RequestError(
            f"The student cannot be quantized because its graph depends on its input: "
            f"{str(error).rstrip('.')}{line_of(error)}.",
            advice="Choose another student, or set quantize.enabled to false.",
        ) from error
    layers = weighted_layers(traced)
    excluded = _resolve_names(exclude_layers, list(layers))
    modules = dict(traced.named_modules())
    consumers: dict[fx.Node, set[str]] = {}
    in_float = _among_excluded(traced.graph, modules, excluded)
    for node in traced.graph.nodes:
        if not _is_quantizable(node, modules) or node in in_float:
            continue
        consumer = str(node.target) if node.op == "call_module" else node.name
        for source in node.all_input_nodes:
            consumers.setdefault(source_of(source, modules), set()).add(consumer)
        tail = _tail(node, modules)
        if not _only_feeds_output(tail):
            consumers.setdefault(tail, set()).add(consumer)
    for number, (node, names) in enumerate(consumers.items()):
        name = f"quantizer_{number}"
        traced.add_module(name, ActivationQuantizer(names))
        with traced.graph.inserting_after(node):
            quantized = traced.graph.call_module(name, (node,))
        node.replace_all_uses_with(quantized, delete_user_cb=partial(operator.ne, quantized))
    traced.recompile()
    for name, layer in layers.items():
        if name not in excluded:
            parametrize.register_parametrization(layer, "weight", WeightQuantizer())
    classifier.network = traced
    return traced


def weighted_layers(network: nn.Module) -> dict[str, nn.Module]:
    """All convolutions and linear layers of a network by name, subclasses included."""
    return {name: m for name, m in network.named_modules() if isinstance(m, _WEIGHTED)}


def quantized_layers(network: nn.Module) -> list[str]:
    """The names of the weighted layers whose weights are quantized."""
    return [n for n, m in weighted_layers(network).items() if parametrize.is_parametrized(m)]


def activation_quantizers(network: nn.Module) -> dict[str, ActivationQuantizer]:
    """The activation quantizers of a network by the name of the tensor that they quantize."""
    if not isinstance(network, fx.GraphModule):
        return {}
    found = {}
    for node in network.graph.nodes:
        module = network.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, ActivationQuantizer):
            found[str(node.args[0])] = module
    return found


def use_quant_scheme(network: nn.Module, quant_scheme: QuantScheme | None) -> None:
    """Quantize all activations and weights by `quant_scheme`; None computes in float32."""
    for module in network.modules():
        if isinstance(module, (ActivationQuantizer, WeightQuantizer)):
            module.use(quant_scheme)


def use_quant_scheme_where(
    network: nn.Module, quant_scheme: QuantScheme, is_quantized: Callable[[str], bool]
) -> None:
    """Quantize only what the layers accepted by `is_quantized` need.

    It is called with the name of every layer, addition and pooling that has quantized tensors.
    """
    for module in network.modules():
        if isinstance(module, ActivationQuantizer):
            module.use(quant_scheme if any(map(is_quantized, module.consumers)) else None)
    for name in quantized_layers(network):
        parametrization = network.get_submodule(f"{name}.parametrizations.weight.0")
        if isinstance(parametrization, WeightQuantizer):
            parametrization.use(quant_scheme if is_quantized(name) else None)


def freeze_weight_scales(network: nn.Module) -> None:
    """Store the current scales of all weights as constants, as the exporter needs them."""
    for weight in network.modules():
        if isinstance(weight, parametrize.ParametrizationList):
            quantizer = weight[0]
            if isinstance(quantizer, WeightQuantizer):
                quantizer.frozen_scale = quantizer.scale(weight.original)


def _resolve_names(names: Iterable[str], layers: list[str]) -> set[str]:
    found = set()
    for name in names:
        matches = [layer for layer in layers if name in (layer, user_name(layer))]
        if not matches:
            raise RequestError(
                f"quantize.exclude_layers names {name!r}, but the student has no such layer.",
                where="quantize.exclude_layers",
                advice=_suggested(name, list(map(user_name, layers))),
            )
        found.update(matches)
    return found


def _suggested(name: str, layers: list[str]) -> str:
    close = f"{did_you_mean(name, layers)} " if nearest(name, layers) else ""
    return f"{close}Its layers are: {', '.join(layers)}."


def _among_excluded(
    graph: fx.Graph, modules: dict[str, nn.Module], excluded: set[str]
) -> set[fx.Node]:
    """The excluded layers, and the joins and poolings that cost fewer conversions beside them.

    In integers, a join needs a conversion of each input in floating point, and one of its output if
    anything in floating point reads it; the other way round in floating point. Poolings are as
    their input is: what they give is smaller, and cheaper to convert.
    """
    found = {node for node in graph.nodes if node.op == "call_module" and node.target in excluded}
    if not found:
        return found
    nodes = [node for node in graph.nodes if _is_quantizable(node, modules)]
    joins = {node for node in nodes if node.op == "call_function" and node.target in _JOINS}
    decisive = joins | {node for node in nodes if _is_weighted(node, modules)}
    before = {
        node: [_nearest([each], decisive, _inputs) for each in _inputs(node)] for node in nodes
    }
    after = {node: _nearest(node.users, decisive, _users) for node in joins}

    def is_cheaper_in_float(join: fx.Node) -> bool:
        inputs = [set(each) <= found for each in before[join] if each]
        in_integers = inputs.count(True) + bool(after[join] & found)
        return inputs.count(False) + bool(after[join] - found) < in_integers

    while more := {join for join in joins - found if is_cheaper_in_float(join)}:
        found |= more
    poolings = {node for node in nodes if node not in decisive}
    return found | {node for node in poolings if before[node][0] and before[node][0] <= found}


def _nearest(
    start: Iterable[fx.Node],
    wanted: set[fx.Node],
    onward: Callable[[fx.Node], Iterable[fx.Node]],
) -> set[fx.Node]:
    """The first `wanted` nodes on every way from `start`."""
    found: set[fx.Node] = set()
    waiting, seen = [*start], set()
    while waiting:
        at = waiting.pop()
        if at in wanted:
            found.add(at)
        elif at not in seen:
            seen.add(at)
            waiting += onward(at)
    return found


def _inputs(node: fx.Node) -> Iterable[fx.Node]:
    return node.all_input_nodes


def _users(node: fx.Node) -> Iterable[fx.Node]:
    return node.users


def _is_weighted(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    return node.op == "call_module" and isinstance(modules[str(node.target)], _WEIGHTED)


def _is_quantizable(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], (*_WEIGHTED, *_POOLS))
    if node.op == "call_method":
        return node.target == "mean"
    is_call = node.op == "call_function" and node.target in _JOINS | _POOL_FUNCTIONS
    return is_call and not _is_size(node)


def _is_size(node: fx.Node) -> bool:
    """Whether a node computes with the sizes of tensors alone."""
    if node.op == "call_method":
        return node.target in ("size", "dim", "numel")
    if node.op != "call_function":
        return False
    if node.target is getattr:
        return node.args[1] in ("shape", "ndim")
    return bool(node.all_input_nodes) and all(map(_is_size, node.all_input_nodes))


def source_of(node: fx.Node, modules: dict[str, nn.Module]) -> fx.Node:
    """The node that computes a tensor's values, skipping layers that only pass them on."""
    while node.op != "placeholder" and _is(node, _TRANSPARENT, modules, _TRANSPARENT_CALLS):
        node = node.all_input_nodes[0]
    return node


def _tail(node: fx.Node, modules: dict[str, nn.Module]) -> fx.Node:
    """The last node of the batch norm and activation that are fused with `node`."""
    fused = (*BATCH_NORMS, *_ACTIVATIONS, *_TRANSPARENT)
    calls = _ACTIVATION_CALLS | _TRANSPARENT_CALLS
    while len(node.users) == 1:
        user = next(iter(node.users))
        if not _is(user, fused, modules, calls):
            break
        node = user
    return source_of(node, modules)


def _is(
    node: fx.Node,
    kinds: tuple[type[nn.Module], ...],
    modules: dict[str, nn.Module],
    calls: set[Any],
) -> bool:
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], kinds)
    return node.op in ("call_function", "call_method") and node.target in calls


def _only_feeds_output(node: fx.Node) -> bool:
    return all(user.op == "output" for user in node.users)
