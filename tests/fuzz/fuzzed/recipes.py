"""Recipes, overrides of them, and target profiles: YAML that people write."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from invariants import ViolatedError, command
from mutations import TEXTS, VALUES, mutated, places, trees

from fuzzed.target import Attempts, Target, tmkd_errors

RECIPE: dict[str, Any] = {
    "name": "small",
    "seed": 1,
    "threads": 1,
    "data": {
        "source": "folder",
        "train": "train",
        "test": "test",
        "image_size": 32,
        "class_names": ["good", "bad"],
    },
    "prompts": {"domain": "electroluminescence"},
    "teacher": {
        "visual": {"model": "test_resnet", "weights": "none", "epochs": 2, "batch_size": 8},
        "text": {"epochs": 1, "batch_size": 8},
    },
    "student": {"model": "resnet10t", "model_kwargs": {"channels": [8, 8, 16, 16]}},
    "distill": {"epochs": 2, "batch_size": 8, "learning_rate": 0.004, "alpha": 2.0},
    "quantize": {"epochs": 1, "calibration": {"images": 32}},
    "measure": {"threads": 1, "min_runs": 40, "min_seconds": 0.2},
    "targets": [
        {"target": "cpu", "budgets": {"accuracy": 0.6, "engine_size_mb": 5}},
        {"target": "jetson", "precisions": ["int8"]},
    ],
}
YAML = """\
# a comment
name: small
data: &data
  source: folder
  train: train
  test: test
  class_names:
    - good
    - bad
student: {model: resnet10t}
distill:
  epochs: 2
  learning_rate: 1e-3
targets:
  - target: cpu
    budgets: {accuracy: 0.6}
"""
PIECES = [
    *(
        b"!!python/object/apply:os.system ['id']",
        b"!!binary aGk=",
        b"!!set {a}",
        b"!x ",
        b"!!float ",
    ),
    *(b"&a ", b"*a", b"*data", b"<<: *data\n", b"? ", b"- ", b": ", b"|\n", b">-\n", b"'", b'"'),
    *(b"---\n", b"...\n", b"%YAML 9.9\n", b"%TAG ! tag:x,2000:\n", b"\t", b"\0", b"\xff", b"\r"),
    *(b"\xef\xbb\xbf", b"\xc2\x85", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"{" * 40, b"[" * 2000),
    *(b"~", b".nan", b".inf", b"1e999", b"0o17", b"1_0", b"9" * 5000, b"\\", b"\x1b[2J", b"#"),
]
NOISE = [
    *(b"", b"~", b"[]", b"- a", b"a", b"{", b"\0", b"\xff\xfe", b"---\n---\n", b"? ? ? a"),
    *(
        b"[" * 5000,
        b"- " * 3000 + b"a",
        b"a: &a [*a]",
        b"&a [*a, *a]",
        b"%",
        b"!",
        b"&",
        b"*",
        b"?",
    ),
    b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(
        b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(7)
    ),
    b"\n".join(b"k%d: 1" % n for n in range(3000)),
]


@st.composite
def _recipe_bytes(draw: st.DrawFn) -> bytes:
    how = draw(st.integers(0, 9))
    if how == 0:
        return draw(st.sampled_from(NOISE) | st.binary(max_size=80))
    if how <= 4:
        return draw(mutated(YAML.encode(), pieces=PIECES))
    text = json.dumps(draw(trees(RECIPE)), ensure_ascii=draw(st.booleans()))
    return text.encode("utf-8", "surrogatepass")


def _try_recipe(content: bytes, folder: Path) -> Attempts:
    from tmkd_deploy.recipe.load import load
    from tmkd_deploy.recipe.upgrade import upgrade

    path = folder / "recipe.yaml"
    path.write_bytes(content)
    warnings: list[str] = []

    def round_trip() -> None:
        recipe = load(path, warn=warnings.append)
        again = folder / "again.yaml"
        again.write_text(recipe.to_yaml(), encoding="utf-8")
        if load(again) != recipe:
            raise ViolatedError("meaning", "the printed recipe is another one", "recipe.to_yaml")

    yield round_trip
    if len(content) % 4 == 0:  # it reads a recipe three times
        yield lambda: upgrade(path)


def _try_check(content: bytes, folder: Path) -> Attempts:
    path = folder / "recipe.yaml"
    path.write_bytes(content)
    form = "--json" if len(content) % 2 else "--resolved"
    yield lambda: command("recipe", "check", form, str(path))


KEYS = sorted(
    {".".join(map(str, path)) for path in places(RECIPE) if path}
    | {"targets.cpu.budgets.accuracy", "targets.jetson", "prompts.classes", "export.opset"}
)


@st.composite
def _overrides(draw: st.DrawFn) -> list[str]:
    def one() -> str:
        key = draw(st.sampled_from(KEYS) | st.sampled_from(TEXTS) | st.text(max_size=12))
        for _ in range(draw(st.integers(0, 1))):
            key += draw(
                st.sampled_from([".", ".0", ".-1", ".9", ".x", ".²", ".targets", "..", " "])
            )
        value = draw(
            st.sampled_from(TEXTS)
            | VALUES.map(json.dumps)
            | st.sampled_from(PIECES).map(lambda piece: piece.decode("utf-8", "surrogateescape"))
            | st.text(max_size=20)
        )
        return f"{key}{draw(st.sampled_from(['=', '=', '=', '==', '', ' = ']))}{value}"

    return [one() for _ in range(draw(st.integers(1, 3)))]


def _try_overrides(overrides: list[str], folder: Path) -> Attempts:
    from tmkd_deploy.recipe.load import load

    path = folder / "recipe.yaml"
    path.write_text(YAML, encoding="utf-8")
    yield lambda: load(path, overrides, lambda _: None)


@functools.cache
def _profile() -> Any:
    from tmkd_deploy.targets import catalog

    return catalog.get("jetson-orin-nano").model_dump(mode="json")


@st.composite
def _profiles(draw: st.DrawFn) -> bytes:
    mine = {**_profile(), "name": "mine"}
    how = draw(st.integers(0, 9))
    if how == 0:
        return draw(st.sampled_from(NOISE))
    text = json.dumps(mine if how <= 3 else draw(trees(mine)), ensure_ascii=draw(st.booleans()))
    content = text.encode("utf-8", "surrogatepass")
    return draw(mutated(content, pieces=PIECES)) if how <= 3 else content


def _try_profile(content: bytes, folder: Path) -> Attempts:
    from tmkd_deploy.targets import custom_profiles

    path = folder / "mine.yaml"
    path.write_bytes(content)
    yield lambda: custom_profiles.read(path)

    def show() -> None:
        os.environ[custom_profiles.FOLDER] = str(folder)
        try:
            command("targets", "show", "mine")
        finally:
            del os.environ[custom_profiles.FOLDER]

    yield show


TARGETS = [
    Target(
        "recipes",
        _recipe_bytes,
        YAML.encode,
        _try_recipe,
        tmkd_errors,
        share=3,
    ),
    Target(
        "recipe check",
        _recipe_bytes,
        YAML.encode,
        _try_check,
        tmkd_errors,
        share=1,
        needs=("timm",),
    ),
    Target(
        "overrides",
        _overrides,
        lambda: ["distill.epochs=3"],
        _try_overrides,
        tmkd_errors,
        share=4,
    ),
    Target(
        "target profiles",
        _profiles,
        lambda: json.dumps({**_profile(), "name": "mine"}).encode(),
        _try_profile,
        tmkd_errors,
        share=1,
    ),
]
