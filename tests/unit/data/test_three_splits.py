"""Groups, shares and the splits that are held out."""

from collections import Counter, defaultdict

import pytest
from data_makers import Listener
from hypothesis import given, settings
from hypothesis import strategies as st

from tmkd_deploy.data.data_checks import name_straddling
from tmkd_deploy.data.groups import groups_of, united
from tmkd_deploy.data.samples import Sample
from tmkd_deploy.data.split import stratified_folds, stratified_split
from tmkd_deploy.data.split_names import SPLITS
from tmkd_deploy.data.three_splits import complete, given_splits
from tmkd_deploy.errors import DataError
from tmkd_deploy.recipe.schema import Data

NAMES = ["a", "b", "c", "d"]


def tracks(*sizes_by_class: list[int]) -> list[Sample]:
    """Samples of one class after the other, in groups of the given sizes."""
    samples: list[Sample] = []
    for label, sizes in enumerate(sizes_by_class):
        for track, size in enumerate(sizes):
            for _ in range(size):
                row = len(samples)
                group = f"{label}-{track}"
                samples.append(Sample(row, f"image{row:05}", label, "", str(row), group))
    return samples


def split(samples: list[Sample], **spec: object) -> dict[str, list[Sample]]:
    given = given_splits(samples)
    data = Data.model_validate({"source": "folder", "path": "images", **spec})
    return complete(given, data, NAMES, "here")


def groups_in(samples: list[Sample]) -> set[str]:
    return {sample.group for sample in samples}


sizes = st.lists(st.integers(1, 30), min_size=3, max_size=12)
fractions = st.floats(0.02, 0.6)


@settings(deadline=None)
@given(
    classes=st.lists(sizes, min_size=1, max_size=4),
    test=fractions,
    val=fractions,
    seed=st.integers(0, 5),
)
def test_three_splits_are_a_partition_and_no_group_straddles(classes, test, val, seed):
    samples = tracks(*classes)
    splits = split(samples, test_fraction=test, val_fraction=val, split_seed=seed)
    assert list(splits) == list(SPLITS)
    assert sorted(s.row for part in splits.values() for s in part) == list(range(len(samples)))
    held = [groups_in(part) for part in splits.values()]
    assert sum(map(len, held)) == len(groups_in(samples))  # so none is in two
    for part in splits.values():
        assert {s.label for s in part} == set(range(len(classes)))
        assert part == sorted(part, key=lambda sample: sample.row)


@settings(deadline=None)
@given(classes=st.lists(sizes, min_size=1, max_size=4), test=fractions, seed=st.integers(0, 5))
def test_a_class_misses_its_share_by_half_its_smallest_group_left(classes, test, seed):
    samples = tracks(*classes)
    kept, held = stratified_split(samples, fraction=test, seed=seed)
    counts, left = Counter(s.label for s in held), defaultdict(Counter)
    for sample in kept:
        left[sample.label][sample.group] += 1
    for label, groups in enumerate(classes):
        share = max(round(sum(groups) * test), 1)
        missing = share - counts[label]
        chosen = {s.group for s in held if s.label == label}
        # above it only by the group that came closest, or by the only one that is held out
        assert missing >= -max(groups) / 2 or len(chosen) == 1
        if len(left[label]) > 1:
            assert missing <= min(left[label].values()) / 2 + 0.5


@settings(deadline=None)
@given(
    cells=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 8), st.integers(0, 30)), min_size=1, max_size=80
    ),
    test=fractions,
    seed=st.integers(0, 5),
    random=st.randoms(),
)
def test_groups_of_several_classes_and_twins_stay_whole_in_any_order(cells, test, seed, random):
    samples = [
        Sample(row, f"image{row}", label, "", f"pixels{pixels}", f"group{group}" if group else "")
        for row, (label, group, pixels) in enumerate(cells)
    ]
    kept, held = stratified_split(samples, fraction=test, seed=seed)
    assert len(kept) + len(held) == len(samples)
    assert not {s.pixels for s in kept} & {s.pixels for s in held}
    assert not (groups_in(kept) - {""}) & (groups_in(held) - {""})
    shuffled = random.sample(samples, len(samples))
    again = stratified_split(shuffled, fraction=test, seed=seed)[1]
    assert {s.key for s in again} == {s.key for s in held}
    folds = stratified_folds(samples, of=4, seed=seed)
    assert sum(map(len, folds)) == len(samples)
    for unit in united(samples):
        assert len({n for n, fold in enumerate(folds) for s in unit if s in fold}) == 1


def test_groups_and_twins_are_joined_into_one_unit():
    rows = [("p", "x"), ("q", "x"), ("q", "y"), ("r", "y"), ("s", ""), ("s", ""), ("t", "")]
    samples = [Sample(n, str(n), 0, "", pixels, group) for n, (pixels, group) in enumerate(rows)]
    assert [[s.row for s in unit] for unit in united(samples)] == [[0, 1, 2, 3], [4, 5], [6]]


def test_equal_tracks_are_divided_by_their_shares():
    splits = split(tracks([30] * 20, [30] * 10), test_fraction=0.2, val_fraction=0.25)
    counts = {name: Counter(s.label for s in part) for name, part in splits.items()}
    assert counts["test"] == {0: 120, 1: 60}
    assert counts["val"] == {0: 120, 1: 60}
    assert counts["train"] == {0: 360, 1: 180}


@settings(deadline=None, max_examples=50)
@given(
    classes=st.lists(st.lists(st.integers(1, 30), min_size=6, max_size=12), min_size=1, max_size=4),
    of=st.integers(2, 6),
    seed=st.integers(0, 5),
    similar=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=1),
)
def test_every_group_is_tested_in_one_fold(classes, of, seed, similar):
    samples = tracks(*classes)
    together = [(str(one), str(other)) for one, other in similar if max(one, other) < len(samples)]

    def fold(number: int) -> dict[str, list[Sample]]:
        spec = {"fold": {"number": number, "of": of}, "split_seed": seed}
        data = Data.model_validate({"source": "folder", "path": "images", **spec})
        return complete(given_splits(samples), data, NAMES, "here", together)

    try:
        found = [fold(number) for number in range(1, of + 1)]
    except DataError:  # two groups of one class became one
        assert together
        return
    assert sorted(s.row for splits in found for s in splits["test"]) == list(range(len(samples)))
    assert sum(len(groups_in(splits["test"])) for splits in found) == sum(map(len, classes))
    for number, splits in enumerate(found, 1):
        assert fold(number) == splits
        assert sorted(s.row for part in splits.values() for s in part) == list(range(len(samples)))
        assert sum(len(groups_in(part)) for part in splits.values()) == sum(map(len, classes))
        assert {s.label for s in splits["test"]} == set(range(len(classes)))
        for one, other in together:
            assert (
                len({n for n, part in splits.items() for s in part if s.pixels in (one, other)})
                == 1
            )


def test_each_fold_is_validated_on_other_images():
    samples = tracks([1] * 100)
    chosen = [
        {s.row for s in split(samples, fold={"number": number, "of": 5})["val"]}
        for number in range(1, 6)
    ]
    assert [len(rows) for rows in chosen] == [12] * 5
    assert len(set.union(*chosen)) > 40


@pytest.mark.parametrize(("of", "needed"), [(2, 4), (3, 4), (6, 6)])
def test_a_class_needs_a_group_for_every_fold(of, needed):
    with pytest.raises(DataError, match=f"at least {needed} different groups for {of} folds: 'b'"):
        split(tracks([5] * needed, [5] * (needed - 1)), fold={"number": 1, "of": of})
    split(tracks([5] * needed, [5] * needed), fold={"number": 1, "of": of})


def test_the_seed_decides_which_tracks_are_held_out():
    samples = tracks([10] * 30)
    chosen = {frozenset(groups_in(split(samples, split_seed=seed)["test"])) for seed in range(5)}
    assert len(chosen) == 5


def test_official_splits_stay_and_the_missing_one_comes_from_training():
    samples = [
        Sample(row, f"{row}", row % 2, "", str(row), split="test" if row < 10 else "train")
        for row in range(50)
    ]
    splits = split(samples, val_fraction=0.25)
    assert [s.row for s in splits["test"]] == list(range(10))
    assert len(splits["val"]) == 10 and len(splits["train"]) == 30


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (([5, 5, 5], [9]), "at least 3 different groups, .*: 'b' has 1"),
        (([5, 5], [9, 1, 1]), "validation and test: 'a' has 2"),
        (([5, 5], [9]), "'a' has 2, 'b' has 1"),
    ],
)
def test_a_class_with_too_few_groups_is_named(classes, told):
    with pytest.raises(DataError, match=told) as caught:
        split(tracks(*classes))
    assert "data.group_by" in caught.value.advice


def test_groups_that_the_data_divide_are_named():
    splits = given_splits(
        [
            Sample(0, "0", 0, "", "0", "track1", "train"),
            Sample(1, "1", 0, "", "1", "track1", "test"),
            Sample(2, "2", 0, "", "2", "track2", "test"),
            Sample(3, "3", 0, "", "3", "", "train"),
            Sample(4, "4", 0, "", "4", "", "test"),
        ]
    )
    events = Listener()
    groups, notes = name_straddling(splits, events)
    assert groups == ["track1"]
    assert notes == ["1 group has images in more than one split of the data: track1."]
    assert events.warned == notes


def test_groups_are_folders_or_parts_of_names():
    keys = ["a/t1/0.png", "a/t1/deep/1.png", "b/t1/2.png"]

    def found(keys: list[str], group_by: str, **more: bool) -> list[str]:
        options = {"required": True, "below_class": True, **more}
        return groups_of(keys, group_by, where="here", **options)

    assert found(keys, "folder") == ["t1", "t1/deep", "t1"]
    assert found(keys, "folder", below_class=False) == ["a/t1", "a/t1/deep", "b/t1"]
    with pytest.raises(DataError, match=r"'b/2\.png' lies in no folder"):
        found([*keys, "b/2.png"], "folder")
    assert found(["a/7_1.png", "b/7_2.png"], "{group}_*.png") == ["7", "7"]
    with pytest.raises(DataError, match=r"'a/x\.png' does not match") as caught:
        found(["a/7_1.png", "a/x.png", "a/y.png"], "{group}_*.png")
    assert caught.value.where == "here"
    assert found(["a/x.png"], "{group}_*.png", required=False) == [""]
