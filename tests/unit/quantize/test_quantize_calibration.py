"""Ranges of activations, the grids made of them, and the stage as a whole."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tmkd_deploy import artifacts
from tmkd_deploy.distill.distill import student_loss
from tmkd_deploy.engines.placement import Placement
from tmkd_deploy.errors import DataError
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.models import weights
from tmkd_deploy.quantize.calibration import Collector
from tmkd_deploy.quantize.facts import QuantizationFacts
from tmkd_deploy.quantize.insert import use_placement
from tmkd_deploy.quantize.quantize import quantize, read_quantized
from tmkd_deploy.quantize.quantizers import ActivationQuantizer, WeightQuantizer
from tmkd_deploy.training.fit import predict

CPU = torch.device("cpu")


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(0.01, 100.0),
    st.floats(50.5, 100.0),
    st.integers(1, 5),
)
def test_ranges_are_those_numpy_finds(seed, size, percentile, batches):
    random = np.random.default_rng(seed)
    values = random.normal(0, size, 4000).astype(np.float32)
    collector = Collector()
    for part in np.array_split(values, batches):
        collector.see(torch.from_numpy(part))
    magnitudes = np.abs(values)
    assert collector.amax("max", percentile) == magnitudes.max()
    found = collector.amax("percentile", percentile)
    # a bin is 1/2048 to 1/1024 of the largest value wide; the bin of zeros is not counted
    expected = [
        np.percentile(
            magnitudes[magnitudes > magnitudes.max() / bins], percentile, method="inverted_cdf"
        )
        for bins in (2048, 1024)
    ]
    slack = 2 * magnitudes.max() / 1024
    assert min(expected) - slack <= found <= max(expected) + slack
    assert found <= magnitudes.max()


def test_zeros_do_not_count_towards_a_percentile():
    """After a ReLU most values are zero, and would pull any percentile down."""
    collector = Collector()
    collector.see(torch.cat([torch.zeros(9900), torch.linspace(0.5, 1.0, 100)]))
    assert collector.amax("percentile", 90.0) == pytest.approx(0.95, abs=0.01)


def test_one_outlier_is_cut_by_a_percentile_and_kept_by_the_maximum():
    collector = Collector()
    collector.see(torch.cat([torch.linspace(0, 1, 100_000), torch.tensor([50.0])]))
    assert collector.amax("max", 99.9) == 50.0
    assert collector.amax("percentile", 99.9) < 1.1


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(0.01, 50.0),
    st.booleans(),
    st.sampled_from(list(Placement)),
)
def test_activations_are_rounded_to_the_grid_of_the_placement(seed, amax, positive, placement):
    values = np.random.default_rng(seed).normal(0, amax, 200).astype(np.float32)
    values = np.abs(values) if positive else values
    quantizer = ActivationQuantizer()
    quantizer.amax.fill_(amax)
    quantizer.non_negative.fill_(positive)
    assert torch.equal(quantizer(torch.from_numpy(values)), torch.from_numpy(values))
    quantizer.use(placement)
    found = quantizer(torch.from_numpy(values)).numpy()
    whole_range = positive and placement is Placement.UNSIGNED
    step, low, high = (amax / 255, 0, 255) if whole_range else (amax / 127, -128, 127)
    steps = found / step
    assert np.allclose(steps, np.rint(steps), atol=1e-2)
    assert np.abs(found - np.clip(values, low * step, high * step)).max() <= 0.501 * step
    quantizer.use(None)
    assert torch.equal(quantizer(torch.from_numpy(values)), torch.from_numpy(values))


def test_weights_are_rounded_channel_by_channel():
    weight = torch.randn(4, 3, 3, 3) * torch.tensor([0.01, 1.0, 100.0, 0.0]).view(4, 1, 1, 1)
    quantizer = WeightQuantizer()
    assert quantizer(weight) is weight
    quantizer.enabled = True
    found = quantizer(weight)
    for channel in range(3):
        step = weight[channel].abs().max() / 127
        steps = found[channel] / step
        assert torch.allclose(steps, steps.round(), atol=1e-3)
        assert (found[channel] - weight[channel]).abs().max() <= 0.501 * step
        assert steps.abs().max().round() == 127
    assert torch.equal(found[3], torch.zeros(3, 3, 3))


def test_gradients_pass_through_rounding_and_stop_outside_the_range():
    quantizer = ActivationQuantizer()
    quantizer.use(Placement.SIGNED)
    values = torch.tensor([0.3, -0.7, 5.0], requires_grad=True)
    quantizer(values).sum().backward()
    assert values.grad.tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("placement", list(Placement))
def test_the_quantized_digits_keep_their_accuracy(digits, quantized_digits, placement):
    classifier, facts = quantized_digits(placement)
    use_placement(classifier.network, placement)
    logits = predict(classifier, digits.data.images("test"), CPU)
    assert digits.top1(logits) == pytest.approx(facts.top1)
    assert facts.top1 > 0.95
    assert facts.placement == placement.value
    assert facts.calibration_images == 128 and facts.left_out == []
    assert "fc" in facts.layers and "layer1.0.conv1" in facts.layers


def test_both_placements_calibrate_on_the_same_training_images(quantized_digits):
    signed, unsigned = (quantized_digits(placement)[1] for placement in Placement)
    assert signed.calibration_sha256 == unsigned.calibration_sha256
    assert signed.layers == unsigned.layers


def test_images_that_are_all_alike_are_refused(digits, tmp_path):
    images = {split: np.zeros_like(digits.data.images(split)) for split in ("train", "test")}
    flat = dataclasses.replace(digits.data, _images=images)
    student = digits.student()
    with torch.no_grad():
        for parameter in student.classifier.parameters():
            parameter.zero_()
    with pytest.raises(DataError, match="Calibration saw only the value") as caught:
        quantize(
            digits.recipe,
            flat,
            digits.teachers,
            student,
            Placement.SIGNED,
            tmp_path,
            SilentEvents(),
        )
    assert "training images differ" in caught.value.advice


def test_too_few_images_are_refused(digits, tmp_path):
    few = {"train": digits.data.images("train")[:31], "test": digits.data.images("test")}
    with pytest.raises(DataError, match="at least 32 training images, and there are 31"):
        quantize(
            digits.recipe,
            dataclasses.replace(digits.data, _images=few),
            digits.teachers,
            digits.student(),
            Placement.SIGNED,
            tmp_path,
            SilentEvents(),
        )


def test_fine_tuning_through_the_quantizers_by_the_teacher(digits, tmp_path):
    """From a student quantized with far too short a range, training wins accuracy back."""
    section = digits.recipe.quantize
    rough = section.calibration.model_copy(update={"method": "percentile", "percentile": 85.0})
    section = section.model_copy(
        update={"epochs": 2, "learning_rate": 2e-3, "calibration": rough, "leave_out": ["fc"]}
    )
    recipe = digits.recipe.model_copy(update={"quantize": section})
    student = dataclasses.replace(digits.student(), folder=tmp_path)
    images = digits.data.images("train")
    logits = predict(digits.classifier(), images, CPU)
    features = torch.zeros(1, len(images), digits.teachers.facts.feature_width).half()
    features[..., 0] = 1.0
    told = {"logits": logits.repeat(2, 1, 1), "features": features.repeat(2, 1, 1)}
    save_file(told, tmp_path / "signals.safetensors")
    loss = student_loss(recipe, digits.teachers, student.facts.feature_width)
    weights.save(loss, tmp_path / "loss.safetensors")
    folder = tmp_path / "quantized"
    with artifacts.writing(folder, kind="quantize", fingerprint="", inputs={}) as draft:
        draft.facts = facts = quantize(
            recipe,
            digits.data,
            digits.teachers,
            student,
            Placement.SIGNED,
            draft.folder,
            SilentEvents(),
        )
    assert facts.post_training_top1 < 0.5
    assert facts.top1 > 0.8
    assert facts.left_out == ["fc"] and "fc" not in facts.layers
    artifact = artifacts.read(folder, "quantize", QuantizationFacts)
    classifier = read_quantized(artifact, recipe, digits.data)
    use_placement(classifier.network, Placement.SIGNED)
    found = predict(classifier, digits.data.images("test"), CPU)
    assert digits.top1(found) == pytest.approx(facts.top1)
