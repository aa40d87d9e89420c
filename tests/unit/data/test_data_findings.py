from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmkd_deploy.data import findings
from tmkd_deploy.data.image_kinds import Header
from tmkd_deploy.data.near_duplicates import NearDuplicates
from tmkd_deploy.data.same_scene import tell_apart
from tmkd_deploy.data.samples import Sample
from tmkd_deploy.data.split_names import Split

NAMES = ["good", "bad"]


def sample(row: int, label: int = 0, pixels: str = "") -> Sample:
    return Sample(row, f"{NAMES[label]}/{row}", label, "", pixels or f"p{row}")


def pair(first: int, second: int) -> NearDuplicates:
    return NearDuplicates(first, second, 0.99)


def test_the_number_of_images_needed_is_that_of_the_documentation() -> None:
    assert findings.images_needed(2) == 1921
    assert findings.images_needed(1) == 7683


def test_contradictory_labels_are_an_error_and_name_the_images() -> None:
    samples = [sample(0, 0, "same"), sample(1, 1, "same"), sample(2, 0, "other")]
    [found] = findings.contradictory_labels(samples, NAMES)
    assert found.severity == "error"
    assert found.examples == ("good/0 (good) = bad/1 (bad)",)
    assert list(findings.contradictory_labels(samples[1:], NAMES)) == []
    [found] = findings.contradictory_labels(samples + [sample(n, 0) for n in range(3, 201)], NAMES)
    assert found.severity == "warning", "2 of 201 are less than 1 %"


@pytest.mark.parametrize(
    ("leaking", "severity"), [(0, None), (1, "warning"), (2, "error"), (5, "error")]
)
def test_test_images_known_from_training_are_an_error_from_one_percent(
    leaking: int, severity: str | None
) -> None:
    samples = [sample(row) for row in range(400)]
    split_of: dict[int, Split] = {row: "train" if row < 200 else "test" for row in range(400)}
    similar = [pair(row, 200 + row) for row in range(leaking)]
    similar += [pair(100, 101), pair(300, 301)]  # within a split
    found = list(findings.leaks(similar, samples, split_of))
    assert [each.severity for each in found] == ([severity] if severity else [])
    if found:
        assert found[0].examples[0] == "good/200 = good/0"


def test_images_that_were_dropped_leak_nothing() -> None:
    samples = [sample(0), sample(1)]
    assert list(findings.leaks([pair(0, 1)], samples, {1: "test"})) == []


def test_similar_images_of_different_classes_are_named_unless_identical() -> None:
    samples = [sample(0, 0), sample(1, 1), sample(2, 1, "same"), sample(3, 0, "same")]
    [found] = findings.similar_but_labelled_differently([pair(0, 1), pair(2, 3)], samples, NAMES)
    assert found.examples == ("good/0 (good) = bad/1 (bad)",)


def splits_of(train: Sequence[int], test: Sequence[int]) -> dict[Split, list[Sample]]:
    def made(counts: Sequence[int], first: int) -> list[Sample]:
        labels = [label for label, count in enumerate(counts) for _ in range(count)]
        return [sample(first + row, label) for row, label in enumerate(labels)]

    return {"train": made(train, 0), "val": [], "test": made(test, 10_000)}


@pytest.mark.parametrize(
    ("train", "test", "kinds"),
    [
        ((200, 200), (50, 50), []),
        ((200, 20), (50, 50), []),
        ((201, 20), (50, 50), ["imbalance"]),
        ((60, 19), (50, 50), ["few_train_images"]),
        ((60, 60), (50, 9), ["few_test_images"]),
    ],
)
def test_imbalance_and_small_classes(
    train: tuple[int, int], test: tuple[int, int], kinds: list[str]
) -> None:
    found = list(findings.imbalance(splits_of(train, test), NAMES))
    assert [each.kind for each in found] == kinds


def test_a_budget_that_the_test_split_cannot_decide_is_named() -> None:
    [found] = findings.too_few_for({"accuracy_drop_points": 2.0, "loose": 20.0}, 144)
    assert (
        "too small to distinguish a loss of 2 points from none. It has 144 images" in found.problem
    )
    assert "about 1,921 are needed" in found.problem
    assert "accuracy_drop_points" in found.problem
    assert list(findings.too_few_for({"accuracy_drop_points": 2.0}, 2000)) == []


@pytest.mark.parametrize("bad_format", ["PNG", "JPEG"])
def test_a_format_that_gives_a_class_away_is_a_shortcut(bad_format: str) -> None:
    headers: list[Header | None] = [Header("PNG", "L", 8, 8)] * 40
    headers += [Header(bad_format, "L", 8, 8)] * 40 + [None]
    labels = [0] * 40 + [1] * 41
    found = list(findings.shortcuts(headers, labels, NAMES))
    if bad_format == "PNG":
        assert found == []
    else:
        assert [each.kind for each in found] == ["shortcut"]
        assert "file format" in found[0].problem
        assert set(found[0].examples) == {"good: PNG", "bad: JPEG"}


def test_copies_are_told_from_a_scene_that_never_changes() -> None:
    samples = [sample(row, 0) for row in range(10)] + [sample(row, 1) for row in range(10, 20)]
    fixed_camera = [pair(10 + row, 11 + row) for row in range(9)]
    copies = tell_apart([pair(0, 1), pair(4, 7), *fixed_camera], samples)
    assert copies.alike == [1]
    assert copies.pairs == [pair(0, 1), pair(4, 7)]


def test_a_class_whose_copies_leave_too_little_to_split_looks_alike() -> None:
    samples = [sample(row) for row in range(4)]
    assert tell_apart([pair(0, 1), pair(2, 3)], samples).alike == [0]
    assert tell_apart([pair(0, 1)], samples).alike == []


@given(st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=60))
def test_pairs_are_either_kept_or_of_a_class_that_looks_alike(links: list[tuple[int, int]]) -> None:
    samples = [sample(row, row % 2) for row in range(30)]
    similar = [pair(min(link), max(link)) for link in links if link[0] != link[1]]
    copies = tell_apart(similar, samples)
    alike = set(copies.alike)
    dropped = [each for each in similar if each not in copies.pairs]
    assert all({each.first % 2, each.second % 2} & alike for each in dropped)
    assert not any({each.first % 2, each.second % 2} & alike for each in copies.pairs)
