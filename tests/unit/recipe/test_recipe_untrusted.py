"""Recipes written to harm whoever runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tmkd_deploy import yaml_document
from tmkd_deploy.cli.main import main
from tmkd_deploy.errors import RequestError
from tmkd_deploy.printable import is_printable
from tmkd_deploy.recipe import check
from tmkd_deploy.recipe.load import load
from tmkd_deploy.recipe.validation_errors import LISTED_AT_MOST

BASE = "name: example\ndata: {source: elpv}\ntargets: [{target: cpu}]\n"


def refused(tmp_path: Path, text: str, *overrides: str) -> RequestError:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RequestError) as caught:
        load(path, overrides)
    assert caught.value.advice
    return caught.value


@pytest.mark.parametrize(
    "keyword",
    [
        "checkpoint_path",
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "pretrained_strict",
        "pretrained_filter_fn",
        "pretrained_model_args",
        "cache_dir",
        "scriptable",
        "exportable",
        "no_jit",
        "features_only",
        "feature_cls",
        "out_indices",
        "num_classes",
        "in_chans",
        "device",
        "dtype",
        "block_args",
        "attn_layer",
    ],
)
@pytest.mark.parametrize("section", ["model_kwargs", "arguments"])
def test_models_take_architecture_keywords_only(tmp_path, section: str, keyword: str) -> None:
    text = f"{BASE}student:\n  {section}:\n    {keyword}: evil.pth\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tmkd_deploy.recipe.load._warn", lambda message: None)
        error = refused(tmp_path, text)
    assert error.problem == f'"{keyword}" is no keyword that a recipe may pass to a timm model.'
    assert error.where == f"{tmp_path / 'recipe.yaml'}:6 (student.model_kwargs.{keyword})"
    assert "docs/reference/recipe.md" in error.advice


def test_an_override_takes_them_only_as_well(tmp_path) -> None:
    error = refused(tmp_path, BASE, "student.model_kwargs.checkpoint_path=evil.pth")
    assert "checkpoint_path" in error.problem and "--set" in str(error.where)


def test_recipe_check_refuses_them(tmp_path, capsys) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"{BASE}student: {{model_kwargs: {{checkpoint_path: evil.pth}}}}\n")
    assert main(["recipe", "check", str(path)]) == 2
    assert "checkpoint_path" in capsys.readouterr().err


def test_a_mistyped_keyword_is_answered_with_the_nearest(tmp_path) -> None:
    error = refused(tmp_path, f"{BASE}student: {{model_kwargs: {{steam_width: 8}}}}\n")
    assert 'Did you mean "stem_width"' in error.advice


def test_values_of_keywords_are_bounded(tmp_path) -> None:
    error = refused(tmp_path, f"{BASE}student: {{model_kwargs: {{channels: [999999999]}}}}\n")
    assert "'channels' must be a whole number from 0 to 16384, or a list of them" in error.problem


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model: 'local-dir:/tmp/evil'", "name a model of open_clip"),
        ("pretrained: ./evil.pt", "set 'checkpoint' for a file"),
        ("pretrained: /tmp/evil.pt", "set 'checkpoint' for a file"),
        ("pretrained: evil.pt", "set 'checkpoint' for a file"),
    ],
)
def test_the_text_teacher_takes_names_and_tags_only(tmp_path, text: str, told: str) -> None:
    error = refused(tmp_path, f"{BASE}teacher:\n  text:\n    {text}\n")
    assert told in error.problem
    assert str(error.where).endswith(f":6 (teacher.text.{text.partition(':')[0]})")


@pytest.mark.parametrize("name", [r"a\x1bb", r"a\0b", r"a\x9bb", r"a\u202eb", r"a\u2066b", r"a\nb"])
def test_class_names_that_cannot_be_shown_are_refused(tmp_path, name: str) -> None:
    text = BASE.replace("elpv}", f'elpv, class_names: [fine, "{name}"]}}')
    error = refused(tmp_path, text)
    assert "which cannot be shown" in error.problem and is_printable(error.problem)


@pytest.mark.parametrize("key", [r"a\x1b[2Jb", r"a\u202eb", r"a\ud800", "k" * 101])
def test_keys_are_plain_words(tmp_path, key: str) -> None:
    error = refused(tmp_path, f'{BASE}"{key}": 1\n')
    assert "plain words of at most 100 characters" in error.problem
    assert is_printable(error.problem) and str(error.where).endswith(":4")


@pytest.mark.parametrize(
    "place",
    [
        "data: {{source: folder, path: {0}}}",
        "data: {{source: folder, train: {0}, test: b}}",
        "teacher: {{visual: {{weights: {0}}}}}",
        "teacher: {{text: {{checkpoint: {0}}}}}",
        "teacher: {{text: {{embeddings: {0}}}}}",
        "student: {{weights: {0}}}",
    ],
)
@pytest.mark.parametrize("path", [r'"a/\0.pth"', "~nobody-of-this-name/x.pth", '"~\\0/x"'])
def test_what_cannot_be_a_path_is_named(tmp_path, place: str, path: str) -> None:
    given = place.format(path)
    text = BASE.replace("data: {source: elpv}\n", "") if given.startswith("data") else BASE
    error = refused(tmp_path, f"{text}{given}\n")
    assert "cannot be a path" in error.problem or "leads nowhere" in error.problem
    assert is_printable(error.problem)


def test_links_in_a_circle_lead_nowhere(tmp_path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    text = f"{BASE}student: {{weights: a/x.pth}}\n"
    (tmp_path / "recipe.yaml").write_text(text)
    try:
        load(tmp_path / "recipe.yaml")  # newer versions of Python resolve such links to themselves
    except RequestError as error:
        assert "leads nowhere" in error.problem


def composed(monkeypatch) -> list[object]:
    """The nodes that are read from now on."""
    nodes: list[object] = []
    compose = yaml_document.yaml.SafeLoader.compose_node

    def counted(self, parent, index):  # type: ignore[no-untyped-def]
        nodes.append(index)
        return compose(self, parent, index)

    monkeypatch.setattr(yaml_document.yaml.SafeLoader, "compose_node", counted)
    return nodes


def test_reading_ends_where_a_document_has_too_many_keys(tmp_path, monkeypatch) -> None:
    nodes = composed(monkeypatch)
    error = refused(tmp_path, "".join(f"k{number}: 1\n" for number in range(60_000)))
    assert error.problem == "It has more than 2000 keys."
    assert str(error.where).endswith("recipe.yaml:2001")
    assert len(nodes) < 2 * 2000 + 2


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_reading_ends_where_a_document_is_too_deep(tmp_path, monkeypatch, opening: str) -> None:
    nodes = composed(monkeypatch)
    assert refused(tmp_path, opening * 3000).problem == "It is nested too deeply."
    assert len(nodes) < 100


def test_a_list_of_too_many_values_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(yaml_document, "NODES_AT_MOST", 50)
    error = refused(tmp_path, f"name: [{', '.join(['1'] * 100)}]\n")
    assert error.problem == "It has more than 50 values."


def test_only_the_first_problems_are_worked_out(tmp_path, monkeypatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        "tmkd_deploy.recipe.validation_errors.did_you_mean",
        lambda name, known: asked.append(name) or "Remove it.",
    )
    error = refused(tmp_path, BASE + "".join(f"k{number}: 1\n" for number in range(500)))
    assert len(asked) == LISTED_AT_MOST
    assert f"The recipe has {LISTED_AT_MOST} or more problems." in error.problem


def test_a_glob_that_is_none_matches_nothing(tmp_path) -> None:
    assert not check._exists(tmp_path / "a**b" / "[" / "x")
    assert not check._exists(tmp_path / ("x" * 5000))
