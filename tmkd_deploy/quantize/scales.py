"""From calibration images to scales, and what is refused as one."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import fx

from tmkd_deploy.errors import DataError
from tmkd_deploy.events import Events, track
from tmkd_deploy.models.timm_classifier import Classifier
from tmkd_deploy.quantize.calibration import Collector
from tmkd_deploy.quantize.insert import activation_quantizers, quantized_layers
from tmkd_deploy.quantize.quantizers import ActivationQuantizer
from tmkd_deploy.recipe.schema import Calibration
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.training.batches import to_float

_BATCH = 32


def calibrate(
    classifier: Classifier,
    images: np.ndarray,
    settings: Calibration,
    quant_scheme: QuantScheme,
    device: torch.device,
    events: Events,
) -> None:
    """Set the range of every activation quantizer to suit `images`, uint8 [n, H, W, 3].

    The number of levels is that of `placement`; a range serves both placements all the same.

    Raises:
        DataError: a tensor was always zero, or once not finite; it is named.
    """
    network = classifier.network
    if not isinstance(network, fx.GraphModule):
        raise AssertionError("insert quantizers before calibrating")
    quantizers = activation_quantizers(network)
    collectors = {name: Collector() for name in quantizers}
    for name, quantizer in quantizers.items():
        quantizer.collector = collectors[name]
    classifier.eval()
    starts = range(0, len(images), _BATCH)
    with torch.inference_mode():
        for start in track(events, starts, "Calibrating", len(starts), "batches"):
            classifier(to_float(images[start : start + _BATCH], None, device))
    for name, quantizer in quantizers.items():
        collector = collectors[name]
        _refuse_range(network, name, collector.largest)
        non_negative = collector.smallest >= 0.0
        levels = 255 if quant_scheme is QuantScheme.U8 and non_negative else 127
        quantizer.amax.fill_(collector.amax(settings.method, settings.percentile, levels))
        quantizer.non_negative.fill_(non_negative)
        quantizer.collector = None
    _keep_pixels(classifier, network, quantizers)


def _keep_pixels(
    classifier: Classifier, network: fx.GraphModule, quantizers: dict[str, ActivationQuantizer]
) -> None:
    """Let a step of the input's grid be a step between pixels, where the normalisation allows it.

    Where it maps pixel p to (p - 128) * step, rounding then changes no pixel in either placement.
    """
    step, zero = classifier.scale.double() / 255.0, classifier.offset.double()
    if step.numel() > 1 or not torch.isclose(zero, -128.0 * step, rtol=1e-6):
        return
    for node in network.graph.nodes:
        if node.op == "placeholder" and node.name in quantizers:
            quantizers[node.name].amax.copy_(127.0 * step.squeeze())
            quantizers[node.name].non_negative.fill_(False)


def refuse_weights(network: fx.GraphModule) -> None:
    """Raise where a weight has no scale.

    A channel of zeros has none either, but stays zero whatever its scale.

    Raises:
        DataError: a weight is not finite; its layer is named.
    """
    for name in quantized_layers(network):
        weight = network.get_submodule(name).get_parameter("parametrizations.weight.original")
        if not bool(torch.isfinite(weight).all()):
            raise DataError(
                f"The layer {_without_prefix(name)} cannot be quantized, because weights of it "
                "are not finite numbers.",
                advice="Train the student again with a lower learning rate.",
            )


def _refuse_range(network: fx.GraphModule, name: str, largest: float) -> None:
    if not math.isfinite(largest):
        raise DataError(
            f"Calibration met values that are not finite numbers in {_place(network, name)}.",
            advice="Train the student again with a lower learning rate.",
        )
    if largest == 0.0:
        raise DataError(
            f"Calibration saw nothing but zeros in {_place(network, name)}, so its scale would "
            "be zero.",
            advice="Check that the student was trained, and on which images.",
        )


def _place(network: fx.GraphModule, name: str) -> str:
    """Where a tensor of the traced network comes from, in the names of the user's model."""
    node = next(each for each in network.graph.nodes if each.name == name)
    if node.op == "placeholder":
        return "the normalised input"
    if node.op == "call_module":
        return f"the output of {_without_prefix(str(node.target))}"
    sources = []
    for source in node.all_input_nodes:
        # the tensor itself, not its rounded copy
        rounded = str(source.target).startswith("quantizer_")
        tensor = source.all_input_nodes[0] if rounded else source
        called = tensor.op == "call_module"
        sources.append(_without_prefix(str(tensor.target)) if called else tensor.name)
    return f"the result of {node.name}, which takes {' and '.join(sources)}"


def _without_prefix(name: str) -> str:
    return name.removeprefix("backbone.")
