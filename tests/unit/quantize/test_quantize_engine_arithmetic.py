"""ONNX Runtime's integer execution of a quantized graph against its emulation in torch."""

import copy

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tmkd_deploy.events import SilentEvents
from tmkd_deploy.export.reference import reference_logits
from tmkd_deploy.export.torch_to_onnx import to_onnx
from tmkd_deploy.models.classifier import Classifier
from tmkd_deploy.quantize.engine_arithmetic import use_engine_arithmetic
from tmkd_deploy.quantize.fold import fold_batch_norms
from tmkd_deploy.quantize.insert import insert_quantizers, use_quant_scheme
from tmkd_deploy.quantize.scales import calibrate
from tmkd_deploy.recipe.schema import Calibration
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.runtime.onnxruntime_session import session_options
from tmkd_deploy.training.predict import predict

onnxruntime = pytest.importorskip("onnxruntime")
CPU = torch.device("cpu")
SIDE = 32
ROUNDED = {"stem.0", "depthwise.0", "narrow.0", "wide.0"}
EXACT = {"swish.0", "fc"}


class Mobile(nn.Module):
    """Layers followed by ReLU, ReLU6, nothing and hard-swish, and the layer of the logits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = _block(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU())
        self.depthwise = _block(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU6())
        self.narrow = _block(nn.Conv2d(16, 16, 1), nn.Identity())
        self.swish = _block(nn.Conv2d(16, 24, 3, padding=1), nn.Hardswish())
        self.wide = _block(nn.Conv2d(24, 32, 3, padding=1, groups=8), nn.ReLU())
        self.fc = nn.Linear(32, 10)

    def forward(self, images):
        narrow = self.narrow(self.depthwise(self.stem(images)))
        features = self.wide(self.swish(narrow)).mean((2, 3))
        return self.fc(features), features


def _block(layer, activation):
    norm = nn.BatchNorm2d(layer.out_channels)
    nn.init.normal_(norm.bias, std=0.5)
    nn.init.uniform_(norm.weight, 0.5, 2.0)
    return nn.Sequential(layer, norm, activation)


@pytest.fixture(scope="module")
def images(digits):
    return digits.data.images("test")[:100]


def folded(images, *excluded_layers):
    classifier = Classifier(Mobile(), [0.5], [0.5]).eval()
    network = insert_quantizers(classifier, excluded_layers)
    calibrate(classifier, images, Calibration(), QuantScheme.U8, CPU, SilentEvents())
    fold_batch_norms(network)
    return classifier


def exported(classifier, folder):
    file = folder / "model.onnx"
    onnx.save(to_onnx(classifier, SIDE, 20), file)
    return file


def run(file, images):
    """Logits of the optimised graph, and its number of integer convolutions."""
    options = session_options(threads=1)
    options.log_severity_level = 3
    options.optimized_model_filepath = str(file.with_name("optimised.onnx"))
    session = onnxruntime.InferenceSession(str(file), options)
    nodes = onnx.load(options.optimized_model_filepath).graph.node
    integers = sum(node.op_type == "QLinearConv" for node in nodes)
    return session.run(["logits"], {"images": images})[0], integers


def test_integer_execution_computes_what_torch_computes(images, tmp_path):
    """ONNX Runtime rounds biases; unless torch does too, they differ far more."""
    classifier = folded(images)
    use_quant_scheme(classifier.network, QuantScheme.U8)
    exact_biases = predict(classifier, images, CPU).numpy()
    use_engine_arithmetic(classifier.network, QuantScheme.U8)
    expected = predict(classifier, images, CPU).numpy()
    found, integers = run(exported(classifier, tmp_path), images)
    assert integers == len(ROUNDED)
    assert np.abs(found - expected).mean() < 0.2 * np.abs(found - exact_biases).mean()


def test_biases_are_rounded_only_where_the_engine_rounds_them(images):
    classifier = folded(images)
    exact = {name: bias_of(classifier, name).clone() for name in ROUNDED | EXACT}
    signed = copy.deepcopy(classifier)
    use_engine_arithmetic(signed.network, QuantScheme.S8)
    use_engine_arithmetic(classifier.network, QuantScheme.U8)
    moved = {n for n in exact if not torch.equal(exact[n], bias_of(classifier, n))}
    assert moved == ROUNDED
    assert all(torch.equal(exact[name], bias_of(signed, name)) for name in exact)
    again = copy.deepcopy(classifier)
    use_engine_arithmetic(again.network, QuantScheme.U8)
    for name in exact:
        assert torch.allclose(bias_of(again, name), bias_of(classifier, name))


def bias_of(classifier, name):
    return classifier.network.get_parameter(f"{name}.bias").detach()


def test_excluded_layers_stay_in_floating_point(images, tmp_path):
    """ONNX Runtime would quantize their weights with a single scale per layer."""
    excluded_layers = {"depthwise.0", "wide.0"}
    classifier = folded(images, *excluded_layers)
    for name in excluded_layers:
        with torch.no_grad():
            # the next quantizer clips the outlier; a shared scale would cost precision elsewhere
            classifier.network.get_submodule(name).weight[0] *= 1000.0
    use_engine_arithmetic(classifier.network, QuantScheme.U8)
    file = exported(classifier, tmp_path)
    reference = reference_logits(file, images)
    found, integers = run(file, images)
    assert integers == len(ROUNDED - excluded_layers)
    assert np.abs(found - reference).mean() < 0.01 * reference.std()
