"""What held-out images decide on the fused teacher, with planted teachers of known worth."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tmkd_deploy.distill.decide_fusion import decide, validate_fused
from tmkd_deploy.distill.fusion import fuse, uniform_weights
from tmkd_deploy.distill.likelihood import best_factor, best_weights, image_nll
from tmkd_deploy.distill.visual_teacher import logits_by_view
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.records.fusion import Fusion
from tmkd_deploy.records.types import VIEWS

CLASSES = 5


class Planted:
    """Images whose labels are drawn from the softmax of known logits, so these are calibrated."""

    def __init__(self, seed: int = 0, images: int = 600) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.images = images
        self.logits = self.noise(2.0)
        drawn = torch.multinomial(self.logits.softmax(dim=1), 1, generator=self.random)
        self.labels = drawn[:, 0]

    def noise(self, scale: float) -> torch.Tensor:
        return scale * torch.randn(self.images, CLASSES, generator=self.random)

    def decided(self, views, text=None, by_text=None) -> Fusion:
        even = uniform_weights(self.images, len(views))
        names = VIEWS[: len(views)]
        by_text = even if by_text is None else by_text
        return decide(names, torch.stack(views), self.labels, Fusion(), even, by_text, text)


def taken(fusion: Fusion) -> set[str]:
    return {decision.part for decision in fusion.decisions if decision.taken}


def test_calibrated_views_of_equal_worth_stay_as_they_are() -> None:
    """Noise that the fusion leaves: the views differ, and their mean is calibrated."""
    planted = Planted()
    first, second = planted.noise(0.3), planted.noise(0.3)
    views = [planted.logits + each for each in (first, second, -first - second)]
    fusion = planted.decided(views, text=planted.noise(1.0))
    assert taken(fusion) == set()
    assert (fusion.softness, fusion.guided_by, fusion.text_share) == (1.0, "nothing", 0.0)
    parts = [decision.part for decision in fusion.decisions]
    assert parts == ["softness", "view weights", "text weights", "text share"]


def test_an_overfitted_teacher_is_softened() -> None:
    planted = Planted()
    fusion = planted.decided([planted.logits / 0.35] * 3)
    assert taken(fusion) == {"softness"}
    assert fusion.softness == pytest.approx(0.35, abs=0.04)


def test_a_useless_view_gets_next_to_no_weight() -> None:
    planted = Planted()
    fusion = planted.decided([planted.logits, planted.logits, planted.noise(2.0)])
    assert fusion.guided_by == "validation"
    assert fusion.view_weights["freq"] < 0.03
    assert sum(fusion.view_weights.values()) == pytest.approx(1)


def test_a_text_teacher_that_knows_gets_a_share() -> None:
    """The views hide what the text teacher knows."""
    planted = Planted()
    text = planted.logits * (torch.rand(planted.images, 1, generator=planted.random) < 0.3)
    fusion = planted.decided([planted.logits - text] * 3, text=text)
    assert fusion.text_share == pytest.approx(1, abs=0.2)
    decision = fusion.decisions[-1]
    assert decision.sentence.startswith(f"text share {fusion.text_share:.2f}: NLL ")
    assert decision.sentence.endswith(" on 600 held-out images")


@pytest.mark.parametrize("seed", range(3))
def test_a_text_teacher_that_does_not_know_gets_none(seed) -> None:
    planted = Planted(seed)
    fusion = planted.decided([planted.logits] * 3, text=planted.noise(2.0))
    assert fusion.text_share == 0
    assert fusion.decisions[-1].sentence.startswith("text share: 0 (")


def test_the_text_weights_are_taken_where_they_find_the_right_view() -> None:
    planted = Planted()
    right = torch.randint(3, (planted.images,), generator=planted.random)
    shown = F.one_hot(right, 3).float()
    views = [
        torch.where(shown[:, [view]] == 1, planted.logits, planted.noise(2.0)) for view in range(3)
    ]
    fusion = planted.decided(views, by_text=shown)
    assert "text weights" in taken(fusion)
    assert (fusion.guided_by, fusion.view_weights) == ("prediction", {})


def test_without_an_image_tower_there_is_no_share_and_it_is_said() -> None:
    planted = Planted()
    fusion = planted.decided([planted.logits] * 3, text=None)
    assert fusion.text_share == 0
    assert "no image tower" in fusion.sentences[-1]


def test_weights_that_the_recipe_states_are_not_tried() -> None:
    planted = Planted()
    weights = torch.tensor([1.0, 0.0]).expand(planted.images, -1)
    logits = torch.stack([planted.logits, planted.noise(2.0)])
    stated = Fusion(guided_by="label")
    fusion = decide(VIEWS[:2], logits, planted.labels, stated, weights, None, None)
    assert [decision.part for decision in fusion.decisions] == ["softness"]
    assert fusion.guided_by == "label"


@pytest.mark.parametrize("guided_by", ["validation", "label", "prediction"])
def test_the_teacher_that_is_compared_is_the_one_that_teaches(digits, guided_by) -> None:
    """The weights, softness and text share of the fusion count, and no label guides it."""
    data, recipe = digits.data, digits.recipe
    random = torch.Generator().manual_seed(1)
    scores = torch.rand(len(data.labels("val")), 3, len(data.class_names), generator=random)
    teachers = dataclasses.replace(digits.teachers, scores={"val": scores}, logit_scale=10.0)
    by_view = {"rgb": 0.2, "edge": 0.3, "freq": 0.5} if guided_by == "validation" else {}
    fusion = Fusion(softness=0.5, guided_by=guided_by, view_weights=by_view, text_share=0.7)
    found = validate_fused(recipe, data, teachers, fusion, SilentEvents())
    logits = logits_by_view(
        teachers.visual, data.images("val"), recipe.views, torch.device("cpu"), SilentEvents()
    )
    weights = torch.tensor([[0.2, 0.3, 0.5]]).expand(len(scores), -1)
    if guided_by != "validation":
        predicted = scores.mean(dim=1).argmax(dim=1)
        own = scores[torch.arange(len(scores)), :, predicted]
        weights = torch.softmax(own / recipe.distill.weight_temperature, dim=1)
    fused = 0.5 * torch.einsum("vnc,nv->nc", logits, weights) + 0.7 * 10.0 * scores[:, 0]
    labels = torch.from_numpy(data.labels("val"))
    assert found.candidate.nll == pytest.approx(float(F.cross_entropy(fused, labels)), abs=1e-4)
    assert (found.right == (fused.argmax(1) == labels).numpy()).mean() > 0.99


def test_one_image_decides_nothing() -> None:
    planted = Planted(images=1)
    fusion = planted.decided([planted.logits, planted.noise(3.0)], text=planted.noise(3.0))
    assert taken(fusion) == set()


@given(
    seed=st.integers(0, 2**31),
    images=st.integers(1, 60),
    scale=st.floats(0.1, 20),
    wrong=st.floats(0, 5),
)
@settings(max_examples=40, deadline=None)
def test_what_is_decided_is_never_worse_on_the_images_that_decide(
    seed, images, scale, wrong
) -> None:
    planted = Planted(seed, images)
    views = [scale * (planted.logits + planted.noise(wrong)) for _ in range(3)]
    text, by_text = planted.noise(2.0), planted.noise(1.0)[:, :3].softmax(dim=1)
    fusion = planted.decided(views, text, by_text)
    weights = {
        "nothing": uniform_weights(images, 3),
        "prediction": by_text,
        "validation": torch.tensor([list(fusion.view_weights.values())]).expand(images, -1),
    }[fusion.guided_by]
    logits = fusion.softness * fuse(torch.stack(views), weights) + fusion.text_share * text
    undecided = fuse(torch.stack(views), uniform_weights(images, 3))
    before, after = (float(image_nll(each, planted.labels).mean()) for each in (undecided, logits))
    assert after <= before * (1 + 1e-6)
    assert fusion == planted.decided(views, text, by_text), "the same images decide the same"


def test_a_factor_is_the_best_of_a_fine_grid() -> None:
    planted = Planted()
    text, grid = planted.noise(1.0), torch.linspace(0, 2, 201)
    added = planted.logits + text
    nll = [float(image_nll(text + each * added, planted.labels).mean()) for each in grid]
    found = best_factor(text, added, planted.labels, 0.0, 2.0)
    assert found == pytest.approx(float(grid[torch.tensor(nll).argmin()]), abs=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_the_best_of_a_grid(seed) -> None:
    planted = Planted(seed, 200)
    views = torch.stack([planted.logits + planted.noise(scale) for scale in (1.0, 1.5, 4.0)])
    nll = {}
    for first in range(51):
        for second in range(51 - first):
            weights = torch.tensor([first, second, 50 - first - second]) / 50
            fused = fuse(views, weights.expand(200, -1))
            nll[tuple(weights.tolist())] = float(image_nll(fused, planted.labels).mean())
    found = best_weights(views, planted.labels)
    fused = fuse(views, found.expand(200, -1))
    assert float(image_nll(fused, planted.labels).mean()) <= min(nll.values()) + 1e-4
    assert (found >= 0).all() and float(found.sum()) == pytest.approx(1)
