"""Ranking layers by the cost of quantizing them."""

import numpy as np
import pytest
import torch
from planted_layer import PLANTED, plant

from tmkd_deploy.data.class_balanced import class_balanced_order
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.quantize.insert import use_quant_scheme, use_quant_scheme_where, weighted_layers
from tmkd_deploy.quantize.quantize import post_training_quantized
from tmkd_deploy.quantize.sensitivity import rank_layers
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.training.predict import predict

CPU = torch.device("cpu")


def ranked(digits, student, recipe=None):
    return rank_layers(
        recipe or digits.recipe,
        digits.data,
        digits.teachers.visual,
        student,
        QuantScheme.U8,
        SilentEvents(),
    )


@pytest.fixture(scope="module")
def healthy(digits):
    """A ranking of the healthy student without its first layer, calibrated on nearly all images."""
    return ranked(digits, digits.student(), excluded_layers(digits.recipe, "conv1.0", images=1100))


@pytest.fixture(scope="module")
def planted(digits):
    student = digits.student()
    with torch.no_grad():
        plant(student.classifier.state_dict(), "network.backbone.")
    return ranked(digits, student)


def excluded_layers(recipe, *names, images=128):
    calibration = recipe.quantize.calibration.model_copy(update={"images": images})
    quantize = recipe.quantize.model_copy(
        update={"exclude_layers": list(names), "calibration": calibration}
    )
    return recipe.model_copy(update={"quantize": quantize})


def test_a_layer_that_eight_bits_ruin_is_ranked_first(planted):
    assert planted.top1 > 0.95
    first, second = planted.layers[:2]
    assert first.layer == PLANTED
    assert first.alone.divergence > 20 * second.alone.divergence
    assert first.alone.points < -10 and first.alone.changed > 0.1
    assert first.alone.teacher_divergence == pytest.approx(first.alone.divergence, rel=0.5)
    everything, without_first = planted.by_count[:2]
    assert without_first.divergence < 0.1 * everything.divergence
    assert first.without == without_first
    assert all(each.without.points < -10 for each in planted.layers[1:])


def test_in_a_healthy_student_no_layer_stands_out(healthy, digits):
    names = {name.rpartition("backbone.")[2] for name in weighted_layers(digits.classifier())}
    assert {each.layer for each in healthy.layers} == names - {"conv1.0"}
    assert healthy.excluded_layers == ["conv1.0"]
    costs = [each.alone.divergence for each in healthy.layers]
    assert costs == sorted(costs, reverse=True) and costs[-1] >= 0
    assert all(each.alone.points > -5 for each in healthy.layers)
    assert len(healthy.by_count) == len(names)
    assert healthy.by_count[-1].divergence < healthy.by_count[0].divergence


def test_excluding_a_layer_equals_inserting_quantizers_without_it(digits):
    def calibrated(*names):
        recipe = excluded_layers(digits.recipe, *names)
        return post_training_quantized(
            recipe, digits.data, digits.student(), QuantScheme.U8, SilentEvents()
        )

    images = digits.data.images("test")[:32]
    for names in ({"conv1.0"}, {"layer1.0.conv2", "layer2.0.conv1"}, {"fc"}):
        switched, inserted = calibrated(), calibrated(*names)
        inside = {f"backbone.{name}" for name in names}
        use_quant_scheme_where(switched.network, QuantScheme.U8, lambda n, i=inside: n not in i)
        use_quant_scheme(inserted.network, QuantScheme.U8)
        assert torch.equal(predict(switched, images, CPU), predict(inserted, images, CPU))


def test_the_images_differ_from_the_calibration_images(planted, healthy):
    assert (planted.images, planted.calibrated_on) == (256, 0)
    assert (healthy.images, healthy.calibrated_on) == (256, 256 - (1197 - 1100))


def test_the_images_are_class_balanced(digits, monkeypatch):
    seen = {}

    def only_first(model, images, device):
        seen.setdefault("images", np.asarray(images))
        raise InterruptedError

    monkeypatch.setattr("tmkd_deploy.quantize.sensitivity.predict", only_first)
    with pytest.raises(InterruptedError):
        ranked(digits, digits.student())
    order = class_balanced_order(digits.data.labels("train"), digits.recipe.seed)[128 : 128 + 256]
    assert np.array_equal(seen["images"], digits.data.images("train")[order])
    counts = np.bincount(digits.data.labels("train")[order])
    assert counts.max() - counts.min() <= 1
