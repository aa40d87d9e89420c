from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tmkd_deploy.data.samples import Sample
from tmkd_deploy.data.split import stratified_folds, stratified_split


def samples_of(kinds, pixels=None):
    """`kinds` are (label, stratum); pixels differ unless given."""
    return [
        Sample(row, f"image{row}", label, stratum, pixels[row] if pixels else str(row))
        for row, (label, stratum) in enumerate(kinds)
    ]


kinds = st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab")), min_size=1, max_size=80)
fractions = st.floats(0.01, 0.99)


@settings(deadline=None)
@given(kinds=kinds, fraction=fractions, seed=st.integers(0, 5))
def test_split_is_a_partition_that_preserves_proportions(kinds, fraction, seed):
    samples = samples_of(kinds)
    train, test = stratified_split(samples, fraction=fraction, seed=seed)
    assert sorted(train + test, key=lambda sample: sample.row) == samples
    assert train == sorted(train, key=lambda sample: sample.row)
    tested = Counter((sample.label, sample.stratum) for sample in test)
    for kind, size in Counter(kinds).items():
        assert abs(tested[kind] - size * fraction) <= 1
    for label, size in Counter(label for label, _ in kinds).items():
        count = sum(tested[label, stratum] for stratum in "ab")
        assert abs(count - size * fraction) <= 0.5 + 1e-9 or count in (1, size - 1)
        if size > 1:
            assert 1 <= count < size


@settings(deadline=None)
@given(kinds=kinds, fraction=fractions, seed=st.integers(0, 5), data=st.data())
def test_identical_images_stay_in_one_split(kinds, fraction, seed, data):
    pixels = data.draw(
        st.lists(st.sampled_from("uvwxyz"), min_size=len(kinds), max_size=len(kinds))
    )
    train, test = stratified_split(samples_of(kinds, pixels), fraction=fraction, seed=seed)
    assert len(train) + len(test) == len(kinds)
    assert not {sample.pixels for sample in train} & {sample.pixels for sample in test}


@settings(deadline=None)
@given(kinds=kinds, fraction=fractions, seed=st.integers(0, 5), random=st.randoms())
def test_split_depends_on_keys_and_not_on_their_order(kinds, fraction, seed, random):
    samples = samples_of(kinds)
    shuffled = random.sample(samples, len(samples))
    test = stratified_split(samples, fraction=fraction, seed=seed)[1]
    again = stratified_split(shuffled, fraction=fraction, seed=seed)[1]
    assert {sample.key for sample in test} == {sample.key for sample in again}


def test_the_split_of_a_seed_never_changes():
    samples = samples_of([(0, ""), (1, "")] * 10)
    chosen = [
        [sample.row for sample in stratified_split(samples, fraction=0.2, seed=seed)[1]]
        for seed in (0, 1)
    ]
    assert chosen == [[7, 11, 12, 16], [6, 11, 13, 16]]


def test_strata_contribute_their_exact_shares_if_possible():
    kinds = [(0, "a")] * 100 + [(0, "b")] * 300 + [(1, "a")] * 50 + [(1, "b")] * 10
    _, test = stratified_split(samples_of(kinds), fraction=0.2, seed=0)
    tested = Counter((sample.label, sample.stratum) for sample in test)
    assert tested == {(0, "a"): 20, (0, "b"): 60, (1, "a"): 10, (1, "b"): 2}


def test_fractions_are_decimal():
    # in binary 0.35 is slightly smaller, and 3.49... would be rounded to three images
    _, test = stratified_split(samples_of([(0, "")] * 10), fraction=0.35, seed=0)
    assert len(test) == 4


def test_a_class_of_duplicates_only_still_has_test_images():
    samples = samples_of([(0, "")] * 6, pixels=["u", "u", "u", "u", "v", "v"])
    train, test = stratified_split(samples, fraction=0.1, seed=0)
    assert [sample.pixels for sample in train] == ["u"] * 4
    assert [sample.pixels for sample in test] == ["v"] * 2


@settings(deadline=None)
@given(kinds=kinds, of=st.integers(2, 20), seed=st.integers(0, 5), random=st.randoms())
def test_folds_are_a_stratified_partition_that_depends_on_keys_alone(kinds, of, seed, random):
    samples = samples_of(kinds)
    folds = stratified_folds(samples, of=of, seed=seed)
    assert len(folds) == of
    assert sorted(sample.row for fold in folds for sample in fold) == list(range(len(samples)))
    for fold in folds:
        assert fold == sorted(fold, key=lambda sample: sample.row)
        counts = Counter(sample.label for sample in fold)
        for label, size in Counter(label for label, _ in kinds).items():
            assert counts[label] in (size // of, -(-size // of))
    shuffled = random.sample(samples, len(samples))
    again = stratified_folds(shuffled, of=of, seed=seed)
    assert [{s.key for s in fold} for fold in again] == [{s.key for s in fold} for fold in folds]
