"""The splits that the data do not define, held out of the training images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tmkd_deploy.data.data_checks import shortened
from tmkd_deploy.data.groups import united
from tmkd_deploy.data.samples import Sample
from tmkd_deploy.data.split import stratified_folds, stratified_split
from tmkd_deploy.data.split_names import LONG_NAME, SPLITS, Split
from tmkd_deploy.errors import DataError
from tmkd_deploy.recipe.schema import Data

Splits = dict[Split, list[Sample]]


def given_splits(samples: Sequence[Sample]) -> Splits:
    """The samples by the split that the data put them in; all are `train` if they name none."""
    splits: Splits = {}
    for sample in samples:
        splits.setdefault(sample.split or "train", []).append(sample)
    return splits


def complete(
    given: Splits,
    spec: Data,
    class_names: Sequence[str],
    where: str,
    similar: Sequence[tuple[str, str]] = (),
) -> Splits:
    """Training, validation and test samples; a split not `given` is held out of the training ones.

    Samples whose pixels are a pair of `similar` stay together where splits are held out.

    Raises:
        DataError: a class has too few images or groups to be in every split that is held out.
    """
    missing = [split for split in SPLITS if split not in given]
    train = given.get("train", [])
    if missing:
        _require_enough(train, missing, spec, class_names, where, similar)
    splits = dict(given)
    if "test" in missing:
        train, splits["test"] = _test_split(train, spec, len(missing), similar)
    if "val" in missing:
        # the same seed would choose from the first fold, whichever fold is the test split
        seed = spec.split_seed + (spec.fold.number if spec.fold else 0)
        train, splits["val"] = stratified_split(
            train, fraction=spec.val_fraction, seed=seed, similar=similar
        )
    splits["train"] = train
    return {split: splits[split] for split in SPLITS}


def _test_split(
    samples: list[Sample], spec: Data, missing: int, similar: Sequence[tuple[str, str]]
) -> tuple[list[Sample], list[Sample]]:
    """The samples outside the test split and those in it; `missing` splits are to be held out."""
    if spec.fold is None:
        return stratified_split(
            samples,
            fraction=spec.test_fraction,
            seed=spec.split_seed,
            leave=missing,  # one for each split that is still to come
            similar=similar,
        )
    folds = stratified_folds(samples, of=spec.fold.of, seed=spec.split_seed, similar=similar)
    test = folds[spec.fold.number - 1]
    rows = {sample.row for sample in test}
    return [sample for sample in samples if sample.row not in rows], test


def _require_enough(
    samples: Sequence[Sample],
    missing: Sequence[Split],
    spec: Data,
    class_names: Sequence[str],
    where: str,
    similar: Sequence[tuple[str, str]],
) -> None:
    units: Counter[int] = Counter()
    for unit in united(samples, similar):
        units.update({sample.label for sample in unit})
    # two folds need two units each, as the other one is divided again
    needed = max(spec.fold.of, 4) if spec.fold else len(missing) + 1
    few = [
        f"{class_names[label]!r} has {count}"
        for label, count in sorted(units.items())
        if count < needed
    ]
    if not few:
        return
    grouped = any(sample.group for sample in samples)
    what = "groups" if grouped else "images"
    held_out = " and ".join(LONG_NAME[split] for split in missing)
    reason = (
        f" for {spec.fold.of} folds"
        if spec.fold
        else f", so that some are left to train with when others are held out for {held_out}"
    )
    raise DataError(
        f"Every class needs at least {needed} different {what}{reason}: {shortened(few, ', ')}.",
        where=where,
        advice=(
            "Add groups, make them smaller with another 'data.group_by', or remove these classes."
            if grouped
            else "Add images of these classes (near-duplicates count once unless "
            "'data.near_duplicates' is 'ignore'), or remove the classes."
        ),
    )
