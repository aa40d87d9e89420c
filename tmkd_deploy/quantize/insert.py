"""Where fake quantizers go: the superset placement, one training for every runtime.

Quantized are both inputs of each convolution, linear layer, addition and pooling, and their output
after the batch norm and activation that follow it. TensorRT builds the same integer layers from
this as from the least placement, and ONNX Runtime needs all of it to keep whole blocks in integers.
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
from tmkd_deploy.models.timm_classifier import Classifier
from tmkd_deploy.quantize.quantizers import ActivationQuantizer, WeightQuantizer
from tmkd_deploy.records.quant_scheme import QuantScheme

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)
_POOLS = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.SiLU, nn.GELU, nn.Hardswish, nn.LeakyReLU)
# what comes out of them is a value that went in, so it lies on the grid already; a pair of its own
# with another scale would keep a pooling in floating point
_TRANSPARENT = (nn.Identity, nn.Dropout, nn.Flatten, nn.MaxPool2d)
_TRANSPARENT_FUNCTIONS: set[Any] = {torch.flatten, F.max_pool2d}
_JOINS = {operator.add, operator.iadd, torch.add, torch.cat, operator.mul, torch.mul}
_POOL_FUNCTIONS = {F.avg_pool2d, F.adaptive_avg_pool2d}


class _Tracer(fx.Tracer):
    """Keeps layers whole, subclasses of convolution and batch norm included."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=tuple(get_notrace_functions()))
        self._whole = (*_WEIGHTED, *BATCH_NORMS, *get_notrace_modules())

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._whole) or super().is_leaf_module(m, module_qualified_name)


def insert_quantizers(classifier: Classifier, exclude_layers: Iterable[str] = ()) -> fx.GraphModule:
    """Replace the classifier's network by one with fake quantizers everywhere they belong.

    The new network is also returned.

    `leave_out` names convolutions and linear layers, as `weighted_layers` lists them, that stay in
    floating point.

    Raises:
        RequestError: the network cannot be traced, or `leave_out` names no layer of it.
    """
    network = classifier.network
    try:
        traced = fx.GraphModule(network, _Tracer().trace(network))
    except (fx.proxy.TraceError, TypeError, RuntimeError) as error:
        raise RequestError(
            f"The student cannot be quantized, because its graph depends on its data: {error}.",
            advice="Choose another student, or set quantize.enabled to false.",
        ) from error
    layers = weighted_layers(traced)
    excluded_layers = _matched(exclude_layers, list(layers))
    modules = dict(traced.named_modules())
    chosen: dict[fx.Node, set[str]] = {}
    for node in traced.graph.nodes:
        if not _computes(node, modules) or node.target in excluded_layers:
            continue
        computes = str(node.target) if node.op == "call_module" else node.name
        for source in node.all_input_nodes:
            chosen.setdefault(source_of(source, modules), set()).add(computes)
        tail = _tail(node, modules)
        if not _only_feeds_output(tail):
            chosen.setdefault(tail, set()).add(computes)
    for number, (node, wanted_by) in enumerate(chosen.items()):
        name = f"quantizer_{number}"
        traced.add_module(name, ActivationQuantizer(wanted_by))
        with traced.graph.inserting_after(node):
            quantized = traced.graph.call_module(name, (node,))
        node.replace_all_uses_with(quantized, delete_user_cb=partial(operator.ne, quantized))
    traced.recompile()
    for name, layer in layers.items():
        if name not in excluded_layers:
            parametrize.register_parametrization(layer, "weight", WeightQuantizer())
    classifier.network = traced
    return traced


def weighted_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Every convolution and linear layer of a network, by name, subclasses included."""
    return {name: m for name, m in network.named_modules() if isinstance(m, _WEIGHTED)}


def quantized_layers(network: nn.Module) -> list[str]:
    """The names of those whose weights are quantized."""
    return [n for n, m in weighted_layers(network).items() if parametrize.is_parametrized(m)]


def activation_quantizers(network: nn.Module) -> dict[str, ActivationQuantizer]:
    """The activation quantizers of a network, each under the name of the tensor it rounds."""
    if not isinstance(network, fx.GraphModule):
        return {}
    found = {}
    for node in network.graph.nodes:
        module = network.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, ActivationQuantizer):
            found[str(node.args[0])] = module
    return found


def use_quant_scheme(network: nn.Module, quant_scheme: QuantScheme | None) -> None:
    """Round every activation and weight as `placement` wants it; None computes in float32."""
    for module in network.modules():
        if isinstance(module, (ActivationQuantizer, WeightQuantizer)):
            module.use(quant_scheme)


def use_quant_scheme_where(
    network: nn.Module, quant_scheme: QuantScheme, computes: Callable[[str], bool]
) -> None:
    """Round as if quantizers had been inserted for those layers alone that `computes` accepts.

    It is asked for the name of every layer, addition and pooling that wants something rounded.
    """
    for module in network.modules():
        if isinstance(module, ActivationQuantizer):
            module.use(quant_scheme if any(map(computes, module.wanted_by)) else None)
    for name in quantized_layers(network):
        parametrization = network.get_submodule(f"{name}.parametrizations.weight.0")
        if isinstance(parametrization, WeightQuantizer):
            parametrization.use(quant_scheme if computes(name) else None)


def fix_weight_scales(network: nn.Module) -> None:
    """Compute each weight's scales once, as an exporter needs them."""
    for weight in network.modules():
        if isinstance(weight, parametrize.ParametrizationList):
            quantizer = weight[0]
            if isinstance(quantizer, WeightQuantizer):
                quantizer.fixed_scale = quantizer.scale(weight.original)


def _matched(names: Iterable[str], layers: list[str]) -> set[str]:
    found = set()
    for name in names:
        # a network's own layers live under 'backbone.'; users need not know
        matches = [layer for layer in layers if layer in (name, f"backbone.{name}")]
        if not matches:
            raise RequestError(
                f"quantize.exclude_layers names {name!r}, but the student has no such layer.",
                advice="Its layers are: " + ", ".join(x.removeprefix("backbone.") for x in layers),
            )
        found.update(matches)
    return found


def _computes(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], (*_WEIGHTED, *_POOLS))
    if node.op == "call_method":
        return node.target == "mean"
    return node.op == "call_function" and node.target in _JOINS | _POOL_FUNCTIONS


def source_of(node: fx.Node, modules: dict[str, nn.Module]) -> fx.Node:
    """The tensor itself, seen through layers that leave its values alone."""
    while node.op != "placeholder" and _is(node, _TRANSPARENT, modules, _TRANSPARENT_FUNCTIONS):
        node = node.all_input_nodes[0]
    return node


def _tail(node: fx.Node, modules: dict[str, nn.Module]) -> fx.Node:
    """The last of the batch norm and activation that run as part of `node`."""
    following = (*BATCH_NORMS, *_ACTIVATIONS, *_TRANSPARENT)
    functions = {F.relu, F.relu6, torch.relu, F.silu, F.gelu} | _TRANSPARENT_FUNCTIONS
    while len(node.users) == 1:
        user = next(iter(node.users))
        if not _is(user, following, modules, functions):
            break
        node = user
    return source_of(node, modules)


def _is(
    node: fx.Node,
    kinds: tuple[type[nn.Module], ...],
    modules: dict[str, nn.Module],
    functions: set[Any],
) -> bool:
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], kinds)
    return node.op == "call_function" and node.target in functions


def _only_feeds_output(node: fx.Node) -> bool:
    return all(user.op == "output" for user in node.users)
