"""What decoded images must be before anything is trained on them or measured with them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from tmkd_deploy.data.decode import Decoded
from tmkd_deploy.data.prepared import Split
from tmkd_deploy.data.samples import Sample
from tmkd_deploy.errors import DataError
from tmkd_deploy.events import Events

NAMED_AT_MOST = 5


def skip_unreadable(decoded: Decoded, allowed: int, origin: str, events: Events) -> list[str]:
    """The keys of unreadable images, each warned of; DataError where more than `allowed`."""
    unreadable = decoded.unreadable
    if len(unreadable) > allowed:
        named = [f"{key!r}: {why}" for key, why in unreadable]
        raise DataError(
            f"{_images(len(unreadable))} of {len(decoded.images)} cannot be decoded, "
            f"and {allowed} may be skipped. {_some(named, ' ')}",
            where=origin,
            advice="Repair or remove them, or raise 'data.max_corrupt_images'.",
        )
    for key, why in unreadable:
        events.warn(f"The image {key!r} was skipped. {why}")
    return [key for key, _ in unreadable]


def drop_overlap(
    train: Sequence[Sample], test: Sequence[Sample], allowed: int, where: str, events: Events
) -> tuple[list[Sample], list[str]]:
    """The training images whose pixels no test image has, and the keys of the others.

    Each of the others is warned of; DataError where they are more than `allowed`.
    """
    tested = {sample.pixels: sample.key for sample in test}
    twins = [sample for sample in train if sample.pixels in tested]
    if len(twins) > allowed:
        pairs = [f"{sample.key!r} = {tested[sample.pixels]!r}" for sample in twins]
        raise DataError(
            f"{_images(len(twins))} of the training split {_repeat(len(twins))} a test image pixel "
            f"for pixel, and {allowed} may: {_some(pairs, ', ')}.",
            where=where,
            advice="Remove them from one split: a score on images seen in training means nothing. "
            "Or raise 'data.max_overlapping_images' to have them dropped from training.",
        )
    for sample in twins:
        events.warn(
            f"The training image {sample.key!r} was dropped: "
            f"the test image {tested[sample.pixels]!r} has the same pixels."
        )
    kept = [sample for sample in train if sample.pixels not in tested]
    return kept, [sample.key for sample in twins]


def class_counts(
    samples: Sequence[Sample], class_names: list[str], split: Split, where: str
) -> dict[str, int]:
    """Images by class name; DataError where a class has none."""
    counts = Counter(sample.label for sample in samples)
    missing = [name for label, name in enumerate(class_names) if not counts[label]]
    if missing:
        raise DataError(
            f"The {split} split has no image of: {_some(missing, ', ')}.",
            where=where,
            advice="Add images of each class (identical images stay in one split), name only "
            "classes that have images, or change 'data.test_fraction'.",
        )
    return {name: counts[label] for label, name in enumerate(class_names)}


def count_duplicates(train: Sequence[Sample], events: Events) -> int:
    """Training images whose pixels an earlier one has; warned of once."""
    duplicates = len(train) - len({sample.pixels for sample in train})
    if duplicates:
        events.warn(
            f"{_images(duplicates)} of the training split {_repeat(duplicates)} "
            "another one pixel for pixel."
        )
    return duplicates


def contradictions(samples: Sequence[Sample], events: Events) -> list[str]:
    """A sentence, also warned of, if identical images are labelled as different classes."""
    labels_of: dict[str, set[int]] = defaultdict(set)
    for sample in samples:
        labels_of[sample.pixels].add(sample.label)
    keys = [sample.key for sample in samples if len(labels_of[sample.pixels]) > 1]
    if not keys:
        return []
    note = f"Identical images are labelled as different classes: {_some(keys, ', ')}."
    events.warn(note)
    return [note]


def excluded_layers(skipped: list[str], overlapping: list[str]) -> list[str]:
    """Sentences for the report about images of the source that are in neither split."""
    notes = []
    if skipped:
        notes.append(f"{_images(len(skipped))} could not be decoded: {_some(skipped, ', ')}.")
    if overlapping:
        notes.append(
            f"{_images(len(overlapping))} of the training split left out, because a test image "
            f"has the same pixels: {_some(overlapping, ', ')}."
        )
    return notes


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _repeat(count: int) -> str:
    return "repeats" if count == 1 else "repeat"


def _some(items: list[str], separator: str) -> str:
    more = len(items) - NAMED_AT_MOST
    return separator.join(items[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
