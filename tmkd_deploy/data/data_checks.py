"""Checks of the decoded images before training or measuring with them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from tmkd_deploy.data.decode import Decoded
from tmkd_deploy.data.prepared import Split
from tmkd_deploy.data.samples import Sample
from tmkd_deploy.errors import DataError
from tmkd_deploy.events import Events

MAX_NAMED = 5


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
            f"at most {allowed} may be skipped. {_shortened(named, ' ')}",
            where=origin,
            advice="Repair or remove them, or raise 'data.max_corrupt_images'.",
        )
    for key, why in unreadable:
        events.warn(f"Skipped image {key!r}: {why}")
    return [key for key, _ in unreadable]


def drop_overlap(
    train: Sequence[Sample], test: Sequence[Sample], allowed: int, where: str, events: Events
) -> tuple[list[Sample], list[str]]:
    """The training images that differ from all test images, and the keys of the dropped ones.

    Each dropped image causes a warning.

    Raises:
        DataError: more than `allowed` training images equal a test image.
    """
    test_keys = {sample.pixels: sample.key for sample in test}
    overlapping = [sample for sample in train if sample.pixels in test_keys]
    if len(overlapping) > allowed:
        pairs = [f"{sample.key!r} = {test_keys[sample.pixels]!r}" for sample in overlapping]
        raise DataError(
            f"{_images(len(overlapping))} of the training split {_repeat(len(overlapping))} a test "
            f"image pixel for pixel; at most {allowed} may: {_shortened(pairs, ', ')}.",
            where=where,
            advice="Remove them from one split: accuracy on training images is meaningless. Or "
            "raise 'data.max_overlapping_images' to drop them from the training split.",
        )
    for sample in overlapping:
        events.warn(
            f"Dropped training image {sample.key!r}: it has the same pixels as test image "
            f"{test_keys[sample.pixels]!r}."
        )
    kept = [sample for sample in train if sample.pixels not in test_keys]
    return kept, [sample.key for sample in overlapping]


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
            f"The {split} split has no images of: {_shortened(missing, ', ')}.",
            where=where,
            advice="Add images of these classes (identical images stay in one split), remove the "
            "classes from 'data.class_names', or change 'data.test_fraction'.",
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
    note = f"Identical images have different labels: {_shortened(keys, ', ')}."
    events.warn(note)
    return [note]


def exclusion_notes(skipped: list[str], overlapping: list[str]) -> list[str]:
    """Notes for the report on images of the source that are in neither split."""
    notes = []
    if skipped:
        notes.append(f"{_images(len(skipped))} could not be decoded: {_shortened(skipped, ', ')}.")
    if overlapping:
        notes.append(
            f"{_images(len(overlapping))} of the training split dropped, because a test image has "
            f"the same pixels: {_shortened(overlapping, ', ')}."
        )
    return notes


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _repeat(count: int) -> str:
    return "repeats" if count == 1 else "repeat"


def _shortened(items: list[str], separator: str) -> str:
    more = len(items) - MAX_NAMED
    return separator.join(items[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
