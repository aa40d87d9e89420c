"""`distill.method` sets the defaults of other keys; what a recipe states itself is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tmkd_deploy.errors import RequestError
from tmkd_deploy.recipe.load import load
from tmkd_deploy.recipe.schema import Recipe

BASE = "name: example\ndata: {source: elpv}\ntargets: [{target: cpu}]\n"
KEYS = ("logit_loss", "views", "text_weights", "weights_guided_by", "beta", "gamma")
ALL = ["rgb", "edge", "freq"]


@pytest.fixture
def recipe(tmp_path: Path):
    def loaded(keys: str, *overrides: str) -> Recipe:
        path = tmp_path / "recipe.yaml"
        path.write_text(f"{BASE}distill: {{{keys}}}\n")
        return load(path, overrides)

    return loaded


def of(recipe: Recipe) -> tuple:
    return tuple(getattr(recipe.distill, key) for key in KEYS)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", ("kd", ALL, "auto", "label", 1.0, 0.0)),
        ("method: auto", ("kd", ALL, "auto", "label", 1.0, 0.0)),
        ("method: tmkd", ("kd", ALL, True, "label", 1.0, 0.1)),
        ("method: kd", ("kd", ["rgb"], False, "label", 0.0, 0.0)),
        ("method: dkd", ("dkd", ["rgb"], False, "label", 0.0, 0.0)),
        ("method: dist", ("dist", ["rgb"], False, "label", 0.0, 0.0)),
        # what a recipe states is kept
        ("gamma: 0.2, text_weights: true", ("kd", ALL, True, "label", 1.0, 0.2)),
        ("text_weights: false", ("kd", ALL, False, "label", 1.0, 0.0)),
        ("weights_guided_by: prediction", ("kd", ALL, True, "prediction", 1.0, 0.0)),
        ("views: [rgb], logit_loss: dkd, beta: 0", ("dkd", ["rgb"], "auto", "label", 0.0, 0.0)),
        ("method: tmkd, logit_loss: dist, gamma: 0", ("dist", ALL, True, "label", 1.0, 0.0)),
        ("method: dkd, views: [rgb], gamma: 0", ("dkd", ["rgb"], False, "label", 0.0, 0.0)),
    ],
)
def test_a_method_sets_the_keys_that_are_left_out(recipe, keys, expected, tmp_path) -> None:
    loaded = recipe(keys)
    assert of(loaded) == expected
    written = tmp_path / "resolved.yaml"
    written.write_text(loaded.to_yaml())
    assert load(written) == loaded


def test_a_method_can_be_set_for_one_call(recipe) -> None:
    assert of(recipe("epochs: 3", "distill.method=dist"))[:2] == ("dist", ["rgb"])


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("method: kd, logit_loss: dkd", "'logit_loss' does not fit 'method: kd'"),
        ("method: kd, views: [rgb, edge]", "'views' does not fit 'method: kd'"),
        ("method: dkd, text_weights: true", "'text_weights' does not fit 'method: dkd'"),
        ("method: dist, beta: 1", "'beta' does not fit 'method: dist'"),
        ("method: dist, gamma: 0.1", "'gamma' does not fit 'method: dist'"),
        ("method: tmkd, text_weights: auto", "needs 'method: auto'"),
        ("method: crd", "'auto', 'tmkd', 'kd', 'dkd' or 'dist'"),
        ("method: [kd]", "'auto', 'tmkd', 'kd', 'dkd' or 'dist'"),
    ],
)
def test_a_key_that_contradicts_the_method_is_refused(recipe, keys, words) -> None:
    with pytest.raises(RequestError, match=r"distill") as caught:
        recipe(keys)
    assert words in caught.value.problem


def test_without_epochs_the_given_student_teaches_itself(recipe) -> None:
    found = recipe("epochs: 0")
    assert found.model_is_given and not recipe("epochs: 1").model_is_given
    assert of(found) == ("kd", ["rgb"], False, "label", 0.0, 0.0)
    assert (found.distill.teacher_outputs, found.distill.baseline) == ("live", False)
    # what `recipe check --resolved` prints is a recipe
    assert Recipe.model_validate(found.model_dump(mode="json")) == found
    assert recipe("epochs: 0, method: dist, augment: crop, alpha: 2.0").distill.alpha == 2.0
    assert recipe("", "distill.epochs=0").model_is_given


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ("method: auto", "'method: auto' needs teachers"),
        ("method: tmkd", "'method: tmkd' needs teachers"),
        ("baseline: true", "no effect: baseline"),
        ("learning_rate: 0.1, keep: last", "no effect: learning_rate, keep"),
        ("teacher_outputs: cached", "no effect: teacher_outputs"),
        ("gamma: 0.1", "'gamma' does not fit"),
    ],
)
def test_keys_that_need_a_distillation_are_refused_without_epochs(recipe, keys, named) -> None:
    with pytest.raises(RequestError) as refused:
        recipe(f"epochs: 0, {keys}")
    assert named in refused.value.problem


@pytest.mark.parametrize(
    "section",
    ["teacher: {visual: {epochs: 3}}", "views: {edge: canny}", "prompts: {domain: industrial}"],
)
def test_a_teacher_that_would_be_ignored_is_refused(tmp_path, section) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"{BASE}distill: {{epochs: 0}}\n{section}\n")
    with pytest.raises(RequestError) as refused:
        load(path)
    key = section.partition(":")[0]
    assert f"remove {key}, or set distill.epochs" in refused.value.problem
