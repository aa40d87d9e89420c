"""`check` looks up what a recipe names: models, tags and files."""

from pathlib import Path

import pytest

from tmkd_deploy.errors import RequestError
from tmkd_deploy.recipe.check import check
from tmkd_deploy.recipe.schema import Recipe

timm = pytest.importorskip("timm")
pytest.importorskip("open_clip")


def recipe(**sections: object) -> Recipe:
    return Recipe.model_validate(
        {"name": "a", "data": {"source": "elpv"}, "targets": [{"target": "cpu"}], **sections}
    )


def test_known_names_pass() -> None:
    student = {"model": "mobilenetv4_conv_small.e2400_r224_in1k"}
    assert check(recipe(student=student)) == []


@pytest.mark.parametrize(
    ("sections", "where", "offered"),
    [
        ({"student": {"model": "resnet10"}}, "student.model", '"resnet10t"'),
        (
            {"teacher": {"visual": {"model": "tf_eficientnet_lite0"}}},
            "teacher.visual.model",
            '"tf_efficientnet_lite0"',
        ),
        (
            {"teacher": {"text": {"model": "ViT-B32", "pretrained": "openai"}}},
            "teacher.text.model",
            '"ViT-B-32"',
        ),
        (
            {"teacher": {"text": {"model": "ViT-B-32", "pretrained": "opnai"}}},
            "teacher.text.pretrained",
            '"openai"',
        ),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(sections, where, offered) -> None:
    with pytest.raises(RequestError) as caught:
        check(recipe(**sections))
    assert caught.value.where == where
    assert offered in caught.value.advice


def test_files_that_are_not_there_are_warned_of(tmp_path: Path) -> None:
    (tmp_path / "shard-0.tar").touch()
    data = {"source": "webdataset", "path": tmp_path / "shard-*.tar"}
    assert check(recipe(data=data)) == []
    shards = {"source": "webdataset", "path": tmp_path / "shard-{0..1}.tar"}
    assert check(recipe(data=shards)) == []
    student = {"weights": str(tmp_path / "none.safetensors")}
    [warning] = check(recipe(data=data, student=student))
    assert "student.weights" in warning and "none.safetensors" in warning
