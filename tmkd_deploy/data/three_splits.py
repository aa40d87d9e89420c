"""The splits that the data do not define, held out of the training images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tmkd_deploy.data.groups import united
from tmkd_deploy.data.samples import Sample
from tmkd_deploy.data.split import stratified_split
from tmkd_deploy.data.split_names import SPLITS, Split
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
        _require_enough(train, missing, class_names, where, similar)
    splits = dict(given)
    if "test" in missing:
        train, splits["test"] = stratified_split(
            train,
            fraction=spec.test_fraction,
            seed=spec.split_seed,
            leave=len(missing),  # one for each split that is still to come
            similar=similar,
        )
    if "val" in missing:
        train, splits["val"] = stratified_split(
            train, fraction=spec.val_fraction, seed=spec.split_seed, similar=similar
        )
    splits["train"] = train
    return {split: splits[split] for split in SPLITS}


def _require_enough(
    samples: Sequence[Sample],
    missing: Sequence[Split],
    class_names: Sequence[str],
    where: str,
    similar: Sequence[tuple[str, str]],
) -> None:
    units: Counter[int] = Counter()
    for unit in united(samples, similar):
        units.update({sample.label for sample in unit})
    needed = len(missing) + 1
    few = [(class_names[label], count) for label, count in sorted(units.items()) if count < needed]
    if not few:
        return
    name, count = few[0]
    more = f", as have {len(few) - 1} more classes" if len(few) > 1 else ""
    grouped = any(sample.group for sample in samples)
    what = "group" if grouped else "image"
    raise DataError(
        f"The class {name!r} has {count} {what}{'' if count == 1 else 's'}{more}, but every class "
        f"needs at least {needed} that differ: one to train with and one for each split that is "
        f"held out ({' and '.join(missing)}).",
        where=where,
        advice=(
            "Add groups, make them smaller with another 'data.group_by', or remove the class."
            if grouped
            else "Add images of the class (identical ones count once, as do near-duplicates unless "
            "'data.near_duplicates' is 'ignore'), or remove it."
        ),
    )
