"""A student with depthwise convolutions and a residual, as the exporter writes it."""

import copy

import pytest

SIDE = 32


@pytest.fixture(scope="session")
def inverted_residuals():
    """Makes the ONNX graph of a small network for a placement; each call gives a copy.

    Nothing here depends on what the network has learnt, so it has learnt nothing.
    """
    pytest.importorskip("timm")
    import torch
    from timm.models._efficientnet_builder import decode_arch_def
    from timm.models.efficientnet import EfficientNet

    from tmkd_deploy.export.torch_to_onnx import to_onnx
    from tmkd_deploy.models.classifier import Classifier
    from tmkd_deploy.models.network import Network
    from tmkd_deploy.quantize.calibration import MagnitudeHistogram
    from tmkd_deploy.quantize.fold import fold_batch_norms
    from tmkd_deploy.quantize.insert import (
        activation_quantizers,
        insert_quantizers,
        use_quant_scheme,
    )

    torch.manual_seed(0)
    backbone = EfficientNet(
        block_args=decode_arch_def([["ds_r1_k3_s2_e1_c16"], ["ir_r2_k3_s2_e2_c16"]]),
        stem_size=16,
        num_features=32,
        act_layer=torch.nn.ReLU,
        num_classes=10,
    )
    classifier = Classifier(Network(backbone), [0.5] * 3, [0.5] * 3).eval()
    fold_batch_norms(insert_quantizers(classifier))
    quantizers = activation_quantizers(classifier.network).values()
    for quantizer in quantizers:
        quantizer.histogram = MagnitudeHistogram()
    with torch.no_grad():
        classifier(torch.rand(8, 3, SIDE, SIDE))
    for quantizer in quantizers:
        quantizer.amax.fill_(quantizer.histogram.largest)
        quantizer.non_negative.fill_(quantizer.histogram.smallest >= 0)
        quantizer.histogram = None
    made = {}

    def graph_for(quant_scheme):
        if quant_scheme not in made:
            use_quant_scheme(classifier.network, quant_scheme)
            made[quant_scheme] = to_onnx(copy.deepcopy(classifier), SIDE, 20)
        return copy.deepcopy(made[quant_scheme])

    return graph_for
