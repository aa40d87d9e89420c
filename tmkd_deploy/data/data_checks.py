"""Checks of the decoded images before training or measuring with them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from tmkd_deploy.data.decode import Decoded
from tmkd_deploy.data.findings import CONTRADICTION
from tmkd_deploy.data.groups import straddling
from tmkd_deploy.data.samples import Sample
from tmkd_deploy.data.split_names import LONG_NAME, SPLITS, Split
from tmkd_deploy.errors import DataError
from tmkd_deploy.events import Events
from tmkd_deploy.records.data_check import DataCheckRecord

MAX_NAMED = 5
_OVERSIGHT = 0.01  # of the held-out images; with more, something is wrong with the splits
_SAID_ELSEWHERE = {CONTRADICTION, "unreadable_images", "unused_files"}


def skip_unreadable(decoded: Decoded, allowed: int, origin: str, events: Events) -> list[str]:
    """The keys of the unreadable images, each with a warning.

    Raises:
        DataError: there are more than `allowed`.
    """
    unreadable = decoded.unreadable
    if len(unreadable) > allowed:
        named = [f"{key!r}: {why}" for key, why in unreadable]
        raise DataError(
            f"{_images(len(unreadable))} of {len(decoded.images)} cannot be decoded; "
            f"at most {allowed} may be skipped. {shortened(named, ' ')}",
            where=origin,
            advice="Repair or remove them, or raise 'data.max_corrupt_images'.",
        )
    for key, why in unreadable:
        events.warn(f"Skipped image {key!r}: {why}")
    return [key for key, _ in unreadable]


def drop_overlap(
    splits: Mapping[Split, Sequence[Sample]], allowed: int | None, where: str, events: Events
) -> tuple[dict[Split, list[Sample]], list[str]]:
    """The samples that differ from those of all later splits, and the keys of the dropped ones.

    The order is training, validation, test. Each dropped image causes a warning.

    Raises:
        DataError: more than `allowed` images, or too many to be an oversight, equal one of a later
            split.
    """
    if allowed is None:
        held_out = sum(len(samples) for split, samples in splits.items() if split != "train")
        allowed = int(_OVERSIGHT * held_out)
    later: dict[str, Sample] = {}  # by pixels
    kept: dict[Split, list[Sample]] = {}
    dropped: list[tuple[Split, Sample, Sample]] = []
    for split in reversed(SPLITS):
        samples = splits.get(split, [])
        found = [
            (split, sample, later[sample.pixels]) for sample in samples if sample.pixels in later
        ]
        dropped = found + dropped
        if split in splits:
            kept[split] = [sample for sample in samples if sample.pixels not in later]
        later.update({sample.pixels: sample for sample in samples if sample.pixels not in later})
    if len(dropped) > allowed:
        pairs = [f"{sample.key!r} = {other.key!r}" for _, sample, other in dropped]
        raise DataError(
            f"{_images(len(dropped))} of the {_splits(dropped)} {_repeat(len(dropped))} an image "
            f"of a later split pixel for pixel; at most {allowed} may: {shortened(pairs, ', ')}.",
            where=where,
            advice="Remove them from one split: accuracy on training images is meaningless. Or "
            "raise 'data.max_overlapping_images' to drop them from the earlier split.",
        )
    for split, sample, other in dropped:
        events.warn(
            f"Dropped {LONG_NAME[split]} image {sample.key!r}: it has the same pixels as "
            f"{other.key!r}, which is in a later split."
        )
    return kept, [sample.key for _, sample, _ in dropped]


def _splits(dropped: Sequence[tuple[Split, Sample, Sample]]) -> str:
    names = list(dict.fromkeys(LONG_NAME[split] for split, _, _ in dropped))
    return f"{' and '.join(names)} {'split' if len(names) == 1 else 'splits'}"


def name_straddling(
    splits: Mapping[Split, Sequence[Sample]], events: Events
) -> tuple[list[str], list[str]]:
    """The groups that the data themselves divide between splits, and a note, also a warning."""
    groups = straddling(list(splits.values()))
    if not groups:
        return [], []
    note = (
        f"{'1 group has' if len(groups) == 1 else f'{len(groups)} groups have'} images in more "
        f"than one split of the data: {shortened(groups, ', ')}."
    )
    events.warn(note)
    return groups, [note]


def class_counts(
    samples: Sequence[Sample], class_names: list[str], split: Split, where: str
) -> dict[str, int]:
    """The number of images by class name.

    Raises:
        DataError: a class has no image.
    """
    counts = Counter(sample.label for sample in samples)
    missing = [name for label, name in enumerate(class_names) if not counts[label]]
    if missing:
        raise DataError(
            f"The {LONG_NAME[split]} split has no images of: {shortened(missing, ', ')}.",
            where=where,
            advice="Add images of these classes (identical images, and those of one group, stay in "
            "one split), or remove the classes. A validation split that the data lack is held out "
            "of the training images.",
        )
    return {name: counts[label] for label, name in enumerate(class_names)}


def count_duplicates(train: Sequence[Sample], events: Events) -> int:
    """The number of training images that repeat an earlier one, with a single warning."""
    duplicates = len(train) - len({sample.pixels for sample in train})
    if duplicates:
        events.warn(
            f"{_images(duplicates)} of the training split {_repeat(duplicates)} "
            "another training image pixel for pixel."
        )
    return duplicates


def label_conflicts(samples: Sequence[Sample], events: Events) -> list[str]:
    """A note, also issued as a warning, if identical images have different labels."""
    labels_of: dict[str, set[int]] = defaultdict(set)
    for sample in samples:
        labels_of[sample.pixels].add(sample.label)
    keys = [sample.key for sample in samples if len(labels_of[sample.pixels]) > 1]
    if not keys:
        return []
    note = f"Identical images have different labels: {shortened(keys, ', ')}."
    events.warn(note)
    return [note]


def check_notes(check: DataCheckRecord, events: Events) -> list[str]:
    """The errors and warnings of `check` as notes for the report, also issued as warnings."""
    notes = [
        f"{finding.problem} {finding.advice}"
        for finding in check.findings
        if finding.severity != "note" and finding.kind not in _SAID_ELSEWHERE
    ]
    for note in notes:
        events.warn(note)
    return notes


def exclusion_notes(skipped: list[str], overlapping: list[str]) -> list[str]:
    """Notes for the report on images of the source that are in no split."""
    notes = []
    if skipped:
        notes.append(f"{_images(len(skipped))} could not be decoded: {shortened(skipped, ', ')}.")
    if overlapping:
        notes.append(
            f"{_images(len(overlapping))} dropped, because one of a later split has the same "
            f"pixels: {shortened(overlapping, ', ')}."
        )
    return notes


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _repeat(count: int) -> str:
    return "repeats" if count == 1 else "repeat"


def shortened(items: list[str], separator: str) -> str:
    """The first of `items`, and how many more there are."""
    more = len(items) - MAX_NAMED
    return separator.join(items[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
