"""`check` looks up what a recipe names: models, tags and files."""

from pathlib import Path

import pytest

from tmkd_deploy.errors import RequestError
from tmkd_deploy.recipe.check import check, missing_files
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


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "shard-0.tar").touch()
    data = {"source": "webdataset", "path": tmp_path / "shard-*.tar"}
    assert missing_files(recipe(data=data)) == {}
    shards = {"source": "webdataset", "path": tmp_path / "shard-{0..1}.tar"}
    assert missing_files(recipe(data=shards)) == {}
    weights = tmp_path / "none.safetensors"
    missing = missing_files(recipe(data=data, student={"weights": str(weights)}))
    assert missing == {"student.weights": weights}


SMALL_MOBILENET = {"model": "mobilenetv3_small_100.lamb_in1k"}


def test_a_family_that_loses_in_int8_is_warned_of_with_a_better_one() -> None:
    [warning] = check(recipe(student=SMALL_MOBILENET))
    assert "slower than its FP32 engine on cpu" in warning
    assert "mobilenetv3_small_100 took" in warning and "docs/explanation/students.md" in warning
    better = warning.partition("family that gains is ")[2].rstrip(".")
    assert check(recipe(student={"model": better})) == []


@pytest.mark.parametrize(
    "sections",
    [
        {"quantize": {"enabled": False}},
        {"targets": [{"target": "cpu", "precisions": ["fp32"]}]},
        {"targets": [{"target": "rtx-ada"}]},
        {"targets": [{"target": "cpu", "runtimes": ["onnxruntime", "openvino"]}]},
        {"student": {"model": "resnet18"}},
    ],
)
def test_no_family_is_warned_of_where_int8_does_not_lose(sections) -> None:
    assert check(recipe(**{"student": SMALL_MOBILENET, **sections})) == []
