"""Parameters that are added or multiplied, as in a ViT and in FastViT, are rounded like tensors."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import nn

from tmkd_deploy.events import SilentEvents
from tmkd_deploy.export.reference import reference_logits
from tmkd_deploy.export.torch_to_onnx import to_onnx
from tmkd_deploy.models.classifier import Classifier
from tmkd_deploy.quantize.insert import insert_quantizers, use_quant_scheme
from tmkd_deploy.quantize.scales import calibrate
from tmkd_deploy.recipe.schema import Calibration
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.training.predict import predict

pytest.importorskip("onnxruntime")
SIDE = 8
CPU = torch.device("cpu")


class AddsItsPosition(nn.Module):
    """A convolution, a learnt position with values of both signs, and a learnt scale."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 6, 3, padding=1)
        self.position = nn.Parameter(torch.randn(1, 6, SIDE, SIDE))
        self.scale = nn.Parameter(torch.rand(6, 1, 1))
        self.head = nn.Linear(6, 3)

    def forward(self, images):
        maps = self.convolution(images) * self.scale + self.position
        features = maps.mean(dim=(2, 3))
        return self.head(features), features


@pytest.mark.parametrize(
    ("quant_scheme", "kind"),
    [(QuantScheme.U8, TensorProto.UINT8), (QuantScheme.S8, TensorProto.INT8)],
)
def test_parameters_are_stored_on_the_grid_of_the_activations(quant_scheme, kind, tmp_path):
    torch.manual_seed(0)
    classifier = Classifier(AddsItsPosition(), [0.5] * 3, [0.5] * 3).eval()
    network = insert_quantizers(classifier)
    images = np.random.default_rng(0).integers(0, 256, (32, SIDE, SIDE, 3), dtype=np.uint8)
    calibrate(classifier, images, Calibration(images=32), quant_scheme, CPU, SilentEvents())
    use_quant_scheme(network, quant_scheme)
    expected = predict(classifier, images, CPU).numpy()
    proto = to_onnx(classifier, SIDE, 20)
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    parameters = [
        stored[node.input[0]].data_type
        for node in proto.graph.node
        if node.op_type == "DequantizeLinear"
        and node.input[0] in stored
        and not stored[node.input[1]].dims
    ]
    assert parameters == [kind, kind]
    onnx.save(proto, tmp_path / "model.onnx")
    found = reference_logits(tmp_path / "model.onnx", images)
    assert np.median(np.abs(found - expected)) < 1e-2 * np.abs(expected).max()
