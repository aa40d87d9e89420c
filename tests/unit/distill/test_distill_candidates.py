"""Which of two models ships, whether a model is above chance, and what is said of both."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from data_records import data_record
from torch import nn

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill.candidates import (
    Step,
    Validated,
    gain_over,
    near_chance,
    validate,
    weak_teacher,
    without_lead,
)
from tmkd_deploy.recipe.schema import Distill, Quantize
from tmkd_deploy.records.candidates import Candidate, Gain
from tmkd_deploy.records.logits import LogitsError

STEP = Step("Distillation", "baseline", "distilled", "distill.ship")


def result(*right: int, images: int, chance: float = 0.5) -> Validated:
    """A model that is right on the images `right`, or on the first few if only one is given."""
    rows = np.zeros(images, dtype=bool)
    rows[list(right) if len(right) > 1 else slice(right[0])] = True
    return Validated(Candidate(top1=float(rows.mean()), nll=1.0), rows, chance)


def gain(points: float) -> Gain:
    low, high = points - 1.7, points + 1.8
    return Gain(images=420, points=points, interval=(low, high), p_value=0.5)


@pytest.mark.parametrize(
    ("points", "wanted", "ships", "sentence"),
    [
        (
            2.1,
            "best",
            "distilled",
            "Distillation gained 2.1 points (0.4 to 3.9) on 420 validation images; the distilled "
            "student ships.",
        ),
        (
            -2.4,
            "best",
            "baseline",
            "Distillation lost 2.4 points (0.6 to 4.1) on 420 validation images; the student "
            "trained without teachers ships.",
        ),
        (
            -1.4,
            "best",
            "distilled",
            "Distillation lost 1.4 points (-0.4 to 3.1) on 420 validation images, which is within "
            "chance; the distilled student ships.",
        ),
        (
            0.0,
            "best",
            "distilled",
            "Distillation gained 0 points (-1.7 to 1.8) on 420 validation images; the distilled "
            "student ships.",
        ),
        (
            -1.4,
            "distilled",
            "distilled",
            "Distillation lost 1.4 points (-0.4 to 3.1) on 420 validation images; the distilled "
            "student ships because the recipe insists (distill.ship).",
        ),
        (
            2.1,
            "baseline",
            "baseline",
            "Distillation gained 2.1 points (0.4 to 3.9) on 420 validation images; the student "
            "trained without teachers ships because the recipe insists (distill.ship).",
        ),
    ],
)
def test_the_derived_one_ships_unless_it_lost_beyond_chance(points, wanted, ships, sentence):
    assert STEP.choose(gain(points), wanted) == (ships, sentence)


def test_a_gain_is_counted_image_by_image():
    found = gain_over(result(0, 1, 2, 3, images=10), result(2, 3, 4, 5, 6, images=10))
    assert found.images == 10
    assert found.points == pytest.approx(10.0)
    assert found.interval[0] < 0 < found.interval[1]
    # 3 gained, 2 lost: P(at most 2 of 5) doubled is 1
    assert found.p_value == 1.0


@pytest.mark.parametrize(
    ("right", "chance", "near"),
    [
        (20, 1 / 3, True),  # a guess
        (60, 1.0, True),  # one class for every image, as all of them are
        (54, 0.9, True),  # one class for every image, as nine of ten are
        (57, 0.82, False),  # imbalanced, and the rare class is found
        (40, 1 / 3, False),
        (5, 1 / 3, True),  # worse than a guess
    ],
)
def test_what_guessing_reaches_is_near_chance(right, chance, near):
    sentence = near_chance("The teacher", result(right, images=60, chance=chance))
    assert (sentence is not None) == near
    if sentence:
        assert sentence.startswith("The teacher is not above chance: its top-1 is ")
        assert f"would reach {100 * chance:.1f} %." in sentence


@pytest.mark.parametrize(("teacher", "weak"), [(30, True), (54, False), (55, False), (60, False)])
def test_a_teacher_that_is_significantly_worse_is_weak(teacher, weak):
    one, other = result(teacher, images=60), result(55, images=60)
    sentence = weak_teacher(one, other, gain_over(other, one))
    assert (sentence is not None) == weak
    if sentence:
        assert sentence == (
            "The teacher is worse than the student trained without it: its top-1 is 50.0 % on 60 "
            "validation images, and the student's 91.7 % (McNemar p < 0.001)."
        )


@pytest.mark.parametrize(("teacher", "led"), [(30, None), (54, False), (55, False), (56, True)])
def test_a_teacher_without_a_lead_is_told_unless_it_is_weak(teacher, led):
    one, other = result(teacher, images=60), result(55, images=60)
    sentence = without_lead(one, other, gain_over(other, one))
    assert (sentence is None) == (led is not False)
    if sentence:
        assert sentence.startswith("The teacher does not lead the student trained without it")
        assert "91.7 % on 60 validation images" in sentence


class Brightness(nn.Module):
    """Two classes, dark and bright, and one that never is; the logits differ by `scale`."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        bright = images.mean(dim=(1, 2, 3)) - 0.5
        logits = self.scale * torch.stack([-bright, bright, torch.full_like(bright, -9.0)], dim=1)
        return logits, logits


@pytest.fixture
def greys() -> PreparedData:
    """Validation images from black to white, of which the two in the middle are mislabelled."""
    images = np.zeros((10, 4, 4, 3), dtype=np.uint8)
    images[:] = np.linspace(0, 255, 10).astype(np.uint8).reshape(-1, 1, 1, 1)
    labels = np.array([0, 0, 0, 0, 1, 0, 1, 1, 1, 1])
    names = [f"grey {row}" for row in range(10)]
    record = data_record(["dark", "bright", "never"], 4)
    return PreparedData(record, {"val": images}, {"val": labels}, {"val": names})


def test_a_model_is_validated_on_the_validation_split(greys):
    model = Brightness(4.0)
    found = validate(model, greys, "the model")
    assert found.right.tolist() == [True] * 4 + [False] * 2 + [True] * 4
    assert found.candidate.top1 == 0.8
    assert found.chance == pytest.approx(0.5 * 0.5 + 0.5 * 0.5)
    logits, _ = model(torch.from_numpy(greys.images("val")).permute(0, 3, 1, 2) / 255)
    expected = F.cross_entropy(logits, torch.from_numpy(greys.labels("val"))).item()
    assert found.candidate.nll == pytest.approx(expected, rel=1e-5)


def test_no_choice_is_made_on_logits_that_are_not_finite(greys):
    with pytest.raises(LogitsError, match="The logits of the model are not finite"):
        validate(Brightness(float("nan")), greys, "the model")


@pytest.mark.parametrize(
    ("section", "given", "message"),
    [
        (Distill, {"ship": "baseline", "baseline": False}, "'ship: baseline' needs"),
        (Quantize, {"ship": "fine_tuned", "epochs": 0}, "'ship: fine_tuned' needs"),
    ],
)
def test_what_is_not_made_cannot_ship(section, given, message):
    with pytest.raises(ValueError, match=message):
        section.model_validate(given)
