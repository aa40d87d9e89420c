"""Activation ranges, the grids derived from them, and the whole stage."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from tmkd_deploy import artifacts
from tmkd_deploy.distill.distill import student_loss
from tmkd_deploy.errors import DataError
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.models import weights
from tmkd_deploy.models.classifier import Classifier, create
from tmkd_deploy.quantize.insert import insert_quantizers, quantized_layers, use_quant_scheme
from tmkd_deploy.quantize.quantize import quantize, read_control, read_quantized
from tmkd_deploy.quantize.quantizers import ActivationQuantizer, WeightQuantizer
from tmkd_deploy.quantize.scales import calibrate
from tmkd_deploy.recipe.schema import Calibration
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.quantization import QuantizationRecord
from tmkd_deploy.training.predict import predict

CPU = torch.device("cpu")


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(0.016, 50.0),  # below, steps are those that FP16 has
    st.booleans(),
    st.sampled_from(list(QuantScheme)),
)
def test_activations_are_rounded_to_the_grid_of_the_scheme(seed, amax, positive, quant_scheme):
    values = np.random.default_rng(seed).normal(0, amax, 200).astype(np.float32)
    values = np.abs(values) if positive else values
    quantizer = ActivationQuantizer()
    quantizer.amax.fill_(amax)
    quantizer.non_negative.fill_(positive)
    assert torch.equal(quantizer(torch.from_numpy(values)), torch.from_numpy(values))
    quantizer.use(quant_scheme)
    found = quantizer(torch.from_numpy(values)).numpy()
    whole_range = positive and quant_scheme is QuantScheme.U8
    step, low, high = (amax / 255, 0, 255) if whole_range else (amax / 127, -128, 127)
    steps = found / step
    assert np.allclose(steps, np.rint(steps), atol=1e-2)
    assert np.abs(found - np.clip(values, low * step, high * step)).max() <= 0.501 * step
    quantizer.use(None)
    assert torch.equal(quantizer(torch.from_numpy(values)), torch.from_numpy(values))


@pytest.mark.parametrize(("quant_scheme", "largest"), [("signed", 127), ("unsigned", 63)])
def test_weights_are_rounded_channel_by_channel(quant_scheme, largest):
    weight = torch.randn(4, 3, 3, 3) * torch.tensor([0.01, 1.0, 100.0, 0.0]).view(4, 1, 1, 1)
    quantizer = WeightQuantizer()
    assert quantizer(weight) is weight
    quantizer.use(QuantScheme(quant_scheme))
    found = quantizer(weight)
    for channel in range(3):
        step = weight[channel].abs().max() / largest
        steps = found[channel] / step
        assert torch.allclose(steps, steps.round(), atol=1e-3)
        assert (found[channel] - weight[channel]).abs().max() <= 0.501 * step
        assert steps.abs().max().round() == largest
    assert torch.equal(found[3], torch.zeros(3, 3, 3))


def test_gradients_pass_through_rounding_and_stop_outside_the_range():
    quantizer = ActivationQuantizer()
    quantizer.use(QuantScheme.S8)
    values = torch.tensor([0.3, -0.7, 5.0], requires_grad=True)
    quantizer(values).sum().backward()
    assert values.grad.tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("quant_scheme", list(QuantScheme))
def test_the_quantized_digits_keep_their_accuracy(digits, quantized_digits, quant_scheme):
    classifier, record = quantized_digits(quant_scheme)
    use_quant_scheme(classifier.network, quant_scheme)
    logits = predict(classifier, digits.data.images("val"), CPU)
    # in batches of another size, a value between two levels may be rounded the other way
    assert digits.top1(logits, "val") == pytest.approx(record.top1, abs=0.011)
    assert record.top1 > 0.95
    assert record.quant_scheme == quant_scheme.value
    assert record.calibration_images == 128 and record.excluded_layers == []
    assert record.control_top1 is None
    assert "fc" in record.layers and "layer1.0.conv1" in record.layers


def test_both_schemes_calibrate_on_the_same_training_images(quantized_digits):
    signed, unsigned = (quantized_digits(quant_scheme)[1] for quant_scheme in QuantScheme)
    assert signed.calibration_sha256 == unsigned.calibration_sha256
    assert signed.layers == unsigned.layers


def refused(digits, student, tmp_path, recipe=None):
    with pytest.raises(DataError) as caught:
        quantize(
            recipe or digits.recipe,
            digits.data,
            digits.teachers,
            student,
            QuantScheme.S8,
            tmp_path,
            SilentEvents(),
        )
    return caught.value.problem


def test_a_tensor_that_is_always_zero_is_named_in_terms_of_the_users_model(digits, tmp_path):
    student = digits.student()
    with torch.no_grad():
        norm = student.classifier.network.backbone.layer2[0].bn1
        norm.weight.zero_()
        norm.bias.fill_(-1.0)
    problem = refused(digits, student, tmp_path)
    assert "only zeros in the output of layer2.0.act1" in problem


class Cancelling(nn.Module):
    """Adds the outputs of two layers that cancel each other."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(3, 4, 1, bias=False)
        self.right.weight.data = -self.left.weight.data
        self.head = nn.Linear(4, 2)

    def forward(self, images):
        features = (self.left(images) + self.right(images)).mean(dim=(2, 3))
        return self.head(features), features


def test_a_sum_that_is_always_zero_is_named_by_what_it_adds():
    classifier = Classifier(Cancelling(), [0.0] * 3, [1.0] * 3)
    insert_quantizers(classifier)
    images = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), dtype=np.uint8)
    with pytest.raises(DataError, match="zeros in the result of add, which takes left and right"):
        calibrate(classifier, images, Calibration(), QuantScheme.S8, CPU, SilentEvents())


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_named(digits, tmp_path, wrong):
    student = digits.student()
    with torch.no_grad():
        student.classifier.network.backbone.layer2[0].bn1.bias[0] = wrong
    assert "not finite in the output of layer2.0.act1" in refused(digits, student, tmp_path)


@pytest.mark.parametrize("wrong", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_named(digits, tmp_path, wrong):
    student = digits.student()
    with torch.no_grad():
        student.classifier.network.backbone.layer2[0].conv1.weight[0, 0, 0, 0] = wrong
    problem = refused(digits, student, tmp_path)
    assert "The layer layer2.0.conv1 cannot be quantized" in problem


@pytest.mark.parametrize(
    ("method", "quant_scheme"),
    [("max", QuantScheme.S8), ("entropy", QuantScheme.U8), ("mse", QuantScheme.U8)],
)
def test_every_method_keeps_the_digits_accuracy(digits, tmp_path, method, quant_scheme):
    section = digits.recipe.quantize
    calibration = section.calibration.model_copy(update={"method": method, "images": 64})
    section = section.model_copy(update={"calibration": calibration})
    recipe = digits.recipe.model_copy(update={"quantize": section})
    record = quantize(
        recipe,
        digits.data,
        digits.teachers,
        digits.student(),
        quant_scheme,
        tmp_path,
        SilentEvents(),
    )
    assert record.calibration_method == method
    assert record.top1 > 0.93


def test_fine_tuning_through_the_quantizers_with_the_teacher(digits, tmp_path):
    """With far too small a range, fine-tuning recovers accuracy."""
    section = digits.recipe.quantize
    rough = section.calibration.model_copy(update={"method": "percentile", "percentile": 85.0})
    section = section.model_copy(
        update={
            "epochs": 2,
            "learning_rate": 2e-3,
            "calibration": rough,
            "exclude_layers": ["fc"],
            "control": True,
        }
    )
    recipe = digits.recipe.model_copy(update={"quantize": section})
    student = dataclasses.replace(digits.student(), folder=tmp_path)
    images = digits.data.images("train")
    logits = predict(digits.classifier(), images, CPU)
    features = torch.zeros(1, len(images), digits.teachers.record.feature_width).half()
    features[..., 0] = 1.0
    outputs = {"logits": logits.repeat(2, 1, 1), "features": features.repeat(2, 1, 1)}
    save_file(outputs, tmp_path / "teacher_outputs.safetensors")
    loss = student_loss(recipe, digits.data, digits.teachers, student.record.feature_width)
    weights.save(loss, tmp_path / "loss.safetensors")
    folder = tmp_path / "quantized"
    with artifacts.writing(folder, kind="quantize", fingerprint="", inputs={}) as draft:
        draft.record = record = quantize(
            recipe,
            digits.data,
            digits.teachers,
            student,
            QuantScheme.S8,
            draft.folder,
            SilentEvents(),
        )
    assert record.candidates["calibrated"].top1 < 0.5
    assert record.ships == "fine_tuned"
    assert record.top1 > 0.8
    assert record.excluded_layers == ["fc"] and "fc" not in record.layers
    artifact = artifacts.read(folder, "quantize", QuantizationRecord)
    classifier = read_quantized(artifact, recipe, digits.data)
    use_quant_scheme(classifier.network, QuantScheme.S8)
    found = predict(classifier, digits.data.images("val"), CPU)
    assert digits.top1(found, "val") == pytest.approx(record.top1)
    # the control was trained for as long, without quantizers
    control = read_control(artifact, recipe, digits.data)
    found = predict(control, digits.data.images("val"), CPU)
    assert digits.top1(found, "val") == pytest.approx(record.control_top1)
    found = predict(control, digits.data.images("test"), CPU)
    assert digits.top1(found) > 0.95
    assert not quantized_layers(control.network)
    before = digits.classifier().state_dict()
    assert any(not torch.equal(before[name], tuned) for name, tuned in control.state_dict().items())


@pytest.mark.parametrize("quant_scheme", list(QuantScheme))
@pytest.mark.parametrize("method", ["percentile", "max"])
def test_rounding_changes_no_pixel_of_a_student_trained_from_scratch(method, quant_scheme):
    torch.manual_seed(0)
    arguments = {"channels": [8, 8, 8, 8], "stem_width": 8, "zero_init_last": False}
    classifier, _ = create("resnet10t", 3, arguments, 32, scratch=True)
    network = insert_quantizers(classifier)
    # bright images: they do not span the range of all pixels
    images = np.random.default_rng(0).integers(130, 240, (40, 32, 32, 3)).astype(np.uint8)
    settings = Calibration(method=method)
    calibrate(classifier, images, settings, quant_scheme, torch.device("cpu"), SilentEvents())
    quantizer = network.get_submodule("quantizer_0")
    assert isinstance(quantizer, ActivationQuantizer)
    quantizer.use(quant_scheme)
    pixels = (torch.arange(256) / 255).view(1, 1, 16, 16)
    normalised = pixels * classifier.scale + classifier.offset
    assert torch.allclose(quantizer(normalised), normalised, atol=1e-6)
