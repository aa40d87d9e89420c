"""The text teacher's scores as a stage, and the weights that students learn with."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill.fusion import predicted_classes, semantic_weights, uniform_weights
from tmkd_deploy.distill.gallery import summarise_view_weights, write_gallery
from tmkd_deploy.errors import DataError
from tmkd_deploy.events import SilentEvents

pytest.importorskip("open_clip")
from tmkd_deploy.distill import text_teacher
from tmkd_deploy.distill.decide_fusion import stated_fusion
from tmkd_deploy.distill.score_views import score_views
from tmkd_deploy.distill.train_teacher import TEXT_SCORES

CLASSES = 10


@pytest.fixture
def few(digits):
    """200 training and 100 validation images of the digits."""
    data, counts = digits.data, {"train": 200, "val": 100}
    return PreparedData(
        data.record,
        {split: data.images(split)[:count] for split, count in counts.items()},
        {split: data.labels(split)[:count] for split, count in counts.items()},
        {split: data.keys(split)[:count] for split, count in counts.items()},
    )


def recipe_with(digits, text=None, **distill):
    recipe = digits.recipe
    given = recipe.model_dump(mode="json")
    given["distill"].update(distill)
    if text:
        given["teacher"]["text"] = {key: str(value) for key, value in text.items()} | {"epochs": 0}
    return type(recipe).model_validate(given)


def test_embeddings_are_scored_on_the_visual_teachers_features(digits, few, tmp_path):
    texts = torch.randn(CLASSES, 24, generator=torch.Generator().manual_seed(1))
    save_file({"texts": texts}, tmp_path / "digits.safetensors")
    recipe = recipe_with(digits, {"embeddings": tmp_path / "digits.safetensors"})
    record = score_views(recipe, few, digits.classifier(), tmp_path, SilentEvents())
    assert record.model == "digits.safetensors" and not record.image_tower
    assert record.top1_by_view["rgb"] > 0.9
    written = load_file(tmp_path / TEXT_SCORES)
    assert torch.allclose(written["texts"][2], F.normalize(texts, dim=-1))
    assert written["train"].shape == (200, 3, CLASSES)
    assert written["val"].shape == (100, 3, CLASSES)
    labels = torch.from_numpy(few.labels("train"))
    assert (written["train"][:, 0].argmax(dim=1) == labels).float().mean() > 0.9
    assert written["train"].abs().max() <= 1 + 1e-5


def test_clip_needs_no_visual_teacher(digits, few, tmp_path):
    torch.manual_seed(5)
    names = few.class_names
    clip = text_teacher.create(digits.recipe.teacher.text, digits.recipe.prompts, names)
    save_file(clip.clip.state_dict(), tmp_path / "clip.safetensors")
    recipe = recipe_with(digits, {"checkpoint": tmp_path / "clip.safetensors"})
    record = score_views(recipe, few, None, tmp_path, SilentEvents())
    assert record.model == "tmkd-clip-tiny" and record.image_tower
    written = load_file(tmp_path / TEXT_SCORES)
    cpu = torch.device("cpu")
    expected = text_teacher.semantic_scores(
        clip, few.images("val"), recipe.views, cpu, SilentEvents()
    )
    assert torch.allclose(written["val"], expected, atol=1e-5)


def test_weights_that_are_no_numbers_are_refused(digits, few, tmp_path):
    names = few.class_names
    clip = text_teacher.create(digits.recipe.teacher.text, digits.recipe.prompts, names)
    state = clip.clip.state_dict()
    state["text_projection"] = state["text_projection"] * float("nan")
    save_file(state, tmp_path / "clip.safetensors")
    recipe = recipe_with(digits, {"checkpoint": tmp_path / "clip.safetensors"})
    with pytest.raises(DataError, match="scores are not finite"):
        score_views(recipe, few, None, tmp_path, SilentEvents())
    assert not (tmp_path / TEXT_SCORES).exists()


class TestViewWeights:
    """What `Teachers` make of the scores."""

    @pytest.fixture
    def teachers(self, digits):
        random = torch.Generator().manual_seed(2)
        scores = {
            split: torch.rand(len(digits.data.labels(split)), 3, CLASSES, generator=random)
            for split in ("train", "val")
        }
        return dataclasses.replace(digits.teachers, scores=scores)

    @pytest.mark.parametrize("views", [["rgb", "edge", "freq"], ["freq", "rgb"], ["edge"]])
    @pytest.mark.parametrize("guide", ["label", "prediction"])
    def test_views_are_scored_on_the_class_that_guides(self, digits, teachers, views, guide):
        recipe = recipe_with(digits, text_weights=True, views=views, weights_guided_by=guide)
        labels = digits.data.labels("val")
        columns = [("rgb", "edge", "freq").index(view) for view in views]
        scores = teachers.scores["val"][:, columns]
        classes = torch.from_numpy(labels) if guide == "label" else predicted_classes(scores)
        found = teachers.view_weights(recipe, stated_fusion(recipe.distill), "val", labels)
        assert torch.equal(found, semantic_weights(scores, classes, 0.05))

    def test_labels_do_not_matter_where_the_prediction_guides(self, digits, teachers):
        recipe = recipe_with(digits, text_weights=True, weights_guided_by="prediction")
        labels = digits.data.labels("val")
        others = (labels + 1) % CLASSES
        found = [
            teachers.view_weights(recipe, stated_fusion(recipe.distill), "val", each)
            for each in (labels, others)
        ]
        assert torch.equal(*found)
        recipe = recipe_with(digits, text_weights=True, weights_guided_by="label")
        found = [
            teachers.view_weights(recipe, stated_fusion(recipe.distill), "val", each)
            for each in (labels, others)
        ]
        assert not torch.equal(*found)

    def test_without_the_text_teacher_all_count_alike(self, digits, teachers):
        recipe = recipe_with(digits, text_weights=False, views=["rgb", "freq"])
        labels = digits.data.labels("val")
        found = teachers.view_weights(recipe, stated_fusion(recipe.distill), "val", labels)
        assert torch.equal(found, uniform_weights(len(labels), 2))

    def test_the_report_shows_the_weights_that_were_used(self, digits, teachers, tmp_path):
        recipe = recipe_with(
            digits, text_weights=True, weights_guided_by="prediction", views=["freq", "rgb"]
        )
        labels = digits.data.labels("train")
        used = teachers.view_weights(recipe, stated_fusion(recipe.distill), "train", labels).numpy()
        summary = summarise_view_weights(
            recipe, digits.data, teachers, stated_fusion(recipe.distill)
        )
        assert summary.guided_by == "prediction"
        assert list(summary.mean) == ["freq", "rgb"]
        assert summary.mean["freq"] == pytest.approx(used[:, 0].mean(), abs=1e-6)
        sevens = used[labels == 7, 1].mean()
        assert summary.mean_by_class["7"]["rgb"] == pytest.approx(sevens, abs=1e-6)
        assert sum(summary.histogram["rgb"]) == len(labels)
        assert sum(summary.histogram["rgb"][:10]) == (used[:, 1] < 0.5).sum()
        captions = write_gallery(
            recipe, digits.data, teachers, stated_fusion(recipe.distill), tmp_path
        )
        shown = np.load(tmp_path / "view_weights.npy")
        assert shown.shape == (len(captions), 3)
        assert (shown[:, 1] == 0).all()
        assert np.allclose(shown.sum(axis=1), 1)

    def test_uniform_weights_are_reported_as_guided_by_nothing(self, digits, teachers):
        recipe = recipe_with(digits, text_weights=False)
        summary = summarise_view_weights(
            recipe, digits.data, teachers, stated_fusion(recipe.distill)
        )
        assert summary.guided_by == "nothing"
        assert summary.mean == pytest.approx(dict.fromkeys(("rgb", "edge", "freq"), 1 / 3))
