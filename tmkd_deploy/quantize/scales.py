"""Setting the ranges of activation quantizers, and rejecting values that have no scale."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import fx

from tmkd_deploy.errors import DataError
from tmkd_deploy.events import Events, track
from tmkd_deploy.models.classifier import Classifier
from tmkd_deploy.quantize.calibration import MagnitudeHistogram
from tmkd_deploy.quantize.insert import activation_quantizers, quantized_layers
from tmkd_deploy.quantize.quantizers import ActivationQuantizer
from tmkd_deploy.recipe.schema import Calibration
from tmkd_deploy.records.layer_names import user_name
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
    """Set the range of every activation quantizer from `images`, uint8 [n, H, W, 3].

    `quant_scheme` determines the number of levels that the range is optimised for; the range itself
    is valid for any scheme.

    Raises:
        DataError: a tensor is always zero, or not always finite; the message names it.
    """
    network = classifier.network
    if not isinstance(network, fx.GraphModule):
        raise AssertionError("insert quantizers before calibrating")
    quantizers = activation_quantizers(network)
    histograms = {name: MagnitudeHistogram() for name in quantizers}
    for name, quantizer in quantizers.items():
        quantizer.histogram = histograms[name]
    classifier.eval()
    starts = range(0, len(images), _BATCH)
    with torch.inference_mode():
        for start in track(events, starts, "Calibrating", len(starts), "batches"):
            classifier(to_float(images[start : start + _BATCH], None, device))
    for name, quantizer in quantizers.items():
        histogram = histograms[name]
        _require_range(network, name, histogram.largest)
        non_negative = histogram.smallest >= 0.0
        levels = 255 if quant_scheme is QuantScheme.U8 and non_negative else 127
        quantizer.amax.fill_(histogram.amax(settings.method, settings.percentile, levels))
        quantizer.non_negative.fill_(non_negative)
        quantizer.histogram = None
    _align_input_to_pixels(classifier, network, quantizers)


def _align_input_to_pixels(
    classifier: Classifier, network: fx.GraphModule, quantizers: dict[str, ActivationQuantizer]
) -> None:
    """Align the input's grid with pixel values where the normalisation permits it.

    If pixel p is normalised to (p - 128) * step, quantizing the input then changes no pixel, in
    either scheme.
    """
    step, zero = classifier.scale.double() / 255.0, classifier.offset.double()
    if step.numel() > 1 or not torch.isclose(zero, -128.0 * step, rtol=1e-6):
        return
    for node in network.graph.nodes:
        if node.op == "placeholder" and node.name in quantizers:
            quantizers[node.name].amax.copy_(127.0 * step.squeeze())
            quantizers[node.name].non_negative.fill_(False)


def require_finite_weights(network: fx.GraphModule) -> None:
    """Check that all quantized weights are finite.

    A channel of zeros needs no check: it stays zero with any scale.

    Raises:
        DataError: a weight is not finite; the message names its layer.
    """
    for name in quantized_layers(network):
        weight = network.get_submodule(name).get_parameter("parametrizations.weight.original")
        if not bool(torch.isfinite(weight).all()):
            raise DataError(
                f"The layer {user_name(name)} cannot be quantized: some of its weights are "
                "not finite.",
                advice="Train the student again with a lower learning rate.",
            )


def _require_range(network: fx.GraphModule, name: str, largest: float) -> None:
    if not math.isfinite(largest):
        raise DataError(
            f"Calibration found values that are not finite in {_origin(network, name)}.",
            advice="Train the student again with a lower learning rate.",
        )
    if largest == 0.0:
        raise DataError(
            f"Calibration found only zeros in {_origin(network, name)}: its scale would be zero.",
            advice="Check that the student is trained, and on suitable images.",
        )


def _origin(network: fx.GraphModule, name: str) -> str:
    """Where a tensor of the traced network comes from, in terms of the user's model."""
    node = next(each for each in network.graph.nodes if each.name == name)
    if node.op == "placeholder":
        return "the normalised input"
    if node.op == "call_module":
        return f"the output of {user_name(str(node.target))}"
    sources = []
    for source in node.all_input_nodes:
        # the tensor itself, not its quantized copy
        is_quantized = str(source.target).startswith("quantizer_")
        tensor = source.all_input_nodes[0] if is_quantized else source
        called = tensor.op == "call_module"
        sources.append(user_name(str(tensor.target)) if called else tensor.name)
    return f"the result of {node.name}, which takes {' and '.join(sources)}"
