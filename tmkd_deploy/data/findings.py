"""What may spoil a result, found in the decoded images, their labels and their splits."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tmkd_deploy.data.image_kinds import Header
from tmkd_deploy.data.near_duplicates import NearDuplicates
from tmkd_deploy.data.samples import Sample
from tmkd_deploy.data.split_names import LONG_NAME, SPLITS, Split
from tmkd_deploy.records.data_check import DataFinding, LabelCheck, Severity

EXAMPLES = 20
LEAK, CONTRADICTION = "near_duplicates_across_splits", "contradictory_labels"
_WRONG_SHARE = 0.01  # of the images concerned, from which on figures are wrong
_Z = 1.959963984540054
_MAX_IMBALANCE = 10
_MIN_TEST = 10
_TOO_SMALL: tuple[tuple[Split, int, str], ...] = (
    ("train", 20, "be learnt reliably"),
    ("test", _MIN_TEST, "be judged"),
)
# Of two models that solve a task about equally well, seen to disagree on 10 to 20 % of the images.
_DISAGREEMENT = 0.2
_SHORTCUT_SHARE = 0.9
# With 5 % of the labels changed, 30 % of the suspects were wrong on Magnetic Tile, where the probe
# reaches 51 %, and 71 % on Caltech-101, where it reaches 86 %.
LEAST_PROBE_ACCURACY = 0.6

Splits = Mapping[Split, Sequence[Sample]]


def images_needed(drop_points: float) -> int:
    """The test images that tell a loss of `drop_points` percentage points of top-1 from none.

    The 95 % interval of a paired change of shares has the half width z sqrt(d / n), where d is the
    share of images that one model gets right and the other wrong; d = 0.2 is assumed.
    """
    return math.ceil(_Z**2 * _DISAGREEMENT / (drop_points / 100) ** 2)


def contradictory_labels(samples: Sequence[Sample], names: Sequence[str]) -> Iterator[DataFinding]:
    """Images with the same pixels and different classes."""
    by_pixels: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_pixels[sample.pixels].append(sample)
    groups = [group for group in by_pixels.values() if len({sample.label for sample in group}) > 1]
    if groups:
        images = sum(map(len, groups))
        yield _finding(
            CONTRADICTION,
            "error" if images >= _WRONG_SHARE * len(samples) else "warning",
            f"{_count(images, 'image')} with the same pixels as another one "
            f"{'has' if len(groups) == 1 else 'have'} another class.",
            "Keep each picture in the one class it belongs to. A picture that belongs to several "
            "needs a multi-label model, which this is not.",
            [
                " = ".join(f"{sample.key} ({names[sample.label]})" for sample in group)
                for group in groups
            ],
        )


def leaks(
    similar: Sequence[NearDuplicates], samples: Sequence[Sample], split_of: Mapping[int, Split]
) -> Iterator[DataFinding]:
    """Near-duplicates in different splits; positions in `similar` are those in `samples`."""
    by_test: dict[str, str] = {}
    for pair in similar:
        one, other = samples[pair.first], samples[pair.second]
        splits = split_of.get(one.row), split_of.get(other.row)  # none if it was dropped
        if splits.count("test") == 1 and None not in splits:
            test, seen = (one, other) if splits[0] == "test" else (other, one)
            by_test.setdefault(test.key, seen.key)
    total = sum(split == "test" for split in split_of.values())
    if by_test:
        share = len(by_test) / total
        yield _finding(
            LEAK,
            "error" if share >= _WRONG_SHARE else "warning",
            f"{_count(len(by_test), 'test image')} of {total:,} ({100 * share:.1f} %) "
            f"{'is' if len(by_test) == 1 else 'are'} nearly the same as a training or validation "
            "image, so accuracy on new images is lower than the test split says.",
            "Keep images of one scene, part or track in one split: set 'data.group_by', or remove "
            "the copies.",
            [f"{test} = {seen}" for test, seen in by_test.items()],
        )


def look_alike(alike: Sequence[int], names: Sequence[str]) -> Iterator[DataFinding]:
    """Classes in which copies cannot be told from different images."""
    if alike:
        yield _finding(
            "images_look_alike",
            "warning",
            f"The images of {_count(len(alike), 'class', 'classes')} are nearly all alike, so "
            "copies cannot be distinguished from different subjects, and may be in several splits.",
            "Set 'data.group_by' if several images show the same subject.",
            [names[label] for label in alike],
        )


def repeated_scenes(
    similar: Sequence[NearDuplicates], samples: Sequence[Sample], *, together: bool
) -> Iterator[DataFinding]:
    """How many images are nearly the same as another one, wherever it is."""
    rows = {place for pair in similar for place in (pair.first, pair.second)}
    if rows:
        yield _finding(
            "near_duplicates",
            "note",
            f"{_count(len(rows), 'image')} of {len(samples):,} "
            f"{'is' if len(rows) == 1 else 'are'} nearly the same as another one, so there are "
            "fewer independent images than files."
            + (" A split that is drawn here keeps them together." if together else ""),
            "Look at the pairs in the report. If they share more than near-duplicates do, such as "
            "the part or the day, set 'data.group_by'.",
            [f"{samples[pair.first].key} = {samples[pair.second].key}" for pair in similar],
        )


def similar_but_labelled_differently(
    similar: Sequence[NearDuplicates], samples: Sequence[Sample], names: Sequence[str]
) -> Iterator[DataFinding]:
    """Near-duplicates, not identical ones, of different classes."""
    pairs = [
        (one, other)
        for pair in similar
        if (one := samples[pair.first]).label != (other := samples[pair.second]).label
        and one.pixels != other.pixels
    ]
    if pairs:
        yield _finding(
            "similar_images_of_different_classes",
            "note",  # in inspection, a defect may be finer than a thumbnail shows
            f"{_count(len(pairs), 'pair')} of nearly the same images "
            f"{'has' if len(pairs) == 1 else 'have'} different classes.",
            "Look at them: a label may be wrong, or the difference too fine for a thumbnail.",
            [
                f"{one.key} ({names[one.label]}) = {other.key} ({names[other.label]})"
                for one, other in pairs
            ],
        )


def imbalance(splits: Splits, names: Sequence[str]) -> Iterator[DataFinding]:
    """Classes of very different sizes, and classes too small to learn or to judge."""
    counts = {split: Counter(sample.label for sample in splits[split]) for split in SPLITS}
    sizes = {names[label]: count for label, count in counts["train"].items()}
    smallest, largest = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    if sizes[largest] > _MAX_IMBALANCE * sizes[smallest]:
        yield _finding(
            "imbalance",
            "warning",
            f"The class {largest!r} has {sizes[largest] / sizes[smallest]:.0f} times as many "
            f"training images as {smallest!r}, so top-1 says little about {smallest!r}.",
            "Set a budget for the recall of the rare class, or for the worst class.",
            [],
        )
    for split, least, cannot in _TOO_SMALL:
        few = [names[label] for label, count in counts[split].items() if count < least]
        if few:
            yield _finding(
                f"few_{split}_images",
                "warning",
                f"{_count(len(few), 'class', 'classes')} with fewer than {least} "
                f"{LONG_NAME[split]} images cannot {cannot}.",
                "Add images of these classes, or merge or remove them.",
                sorted(few),
            )


def too_few_for(drop_budgets: Mapping[str, float], test_images: int) -> Iterator[DataFinding]:
    """Budgets on a loss of accuracy, in points, that this many test images cannot decide."""
    for name, points in drop_budgets.items():
        if points > 0 and test_images < (needed := images_needed(points)):
            yield _finding(
                "too_few_test_images",
                "warning",
                f"The test split is too small to distinguish a loss of {points:g} points from "
                f"none. It has {test_images:,} images, and about {needed:,} are needed if two "
                f"models disagree on every fifth. This may stay undecided: {name}.",
                "Raise 'data.test_fraction' or take fewer folds, use more images, or allow a "
                "larger loss.",
                [],
            )


def shortcuts(
    headers: Sequence[Header | None], labels: Sequence[int], names: Sequence[str]
) -> Iterator[DataFinding]:
    """File formats, colour modes and sizes that give a class away."""
    for what, value_of in (
        ("file format", lambda header: header.format),
        ("colour mode", lambda header: header.mode),
        ("size in pixels", lambda header: f"{header.width} x {header.height}"),
    ):
        values: dict[str, Counter[int]] = defaultdict(Counter)
        sizes: Counter[int] = Counter()
        for header, label in zip(headers, labels, strict=True):
            if header is not None:
                values[value_of(header)][label] += 1
                sizes[label] += 1
        telling = [
            f"{names[label]}: {value}"
            for value, by_class in values.items()
            for label, count in by_class.items()
            if len(values) > 1
            and count >= max(_MIN_TEST, _SHORTCUT_SHARE * sizes[label])
            and count >= _SHORTCUT_SHARE * sum(by_class.values())
        ]
        if telling:
            yield _finding(
                "shortcut",
                "warning",
                f"The {what} alone nearly gives {_count(len(telling), 'class', 'classes')} away. "
                "A model may learn traces of it instead of the subject.",
                "Take or convert the images of all classes in the same way.",
                telling,
            )


def label_errors(check: LabelCheck) -> Iterator[DataFinding]:
    """What the probe says of the labels; the images themselves are in `check`."""
    alone = (
        f" {_count(check.not_judged, 'image')} could not be judged, for want of others of the same "
        "class that are independent of them."
        if check.not_judged
        else ""
    )
    if check.accuracy is None or check.balanced_accuracy is None:
        kind, problem = "labels_not_judged", f"The labels were not judged.{alone}"
        advice = "Add images. Near-duplicates and images of one group count once."
    elif check.suspects is None:
        kind = "labels_not_judged"
        problem = (
            "The labels were not judged: a linear classifier on pretrained features agrees with "
            f"only {100 * check.balanced_accuracy:.1f} % of them out of fold, in the mean over the "
            f"classes. Below {100 * LEAST_PROBE_ACCURACY:.0f} %, most suspects are correct."
        )
        advice = (
            "Either the classes look alike to this network, or many labels are wrong: look at the "
            "pictures of each class in the report."
        )
    else:
        kind, suspects = "suspect_labels", len(check.suspects)
        problem = (
            f"{f'{suspects:,}' if suspects else 'None'} of {check.images:,} labels "
            f"{'are' if suspects > 1 else 'is'} contradicted by a linear classifier on pretrained "
            f"features, which agrees with {100 * check.accuracy:.1f} % of them out of fold "
            f"({100 * check.balanced_accuracy:.1f} % in the mean over the classes).{alone}"
        )
        advice = (
            "These are suspicions: look at each image, and correct its label only if it is wrong. "
            "Rare and difficult images are suspected as well."
            if suspects
            else "Errors that many images share, or too fine for this classifier, stay unseen."
        )
    yield _finding(kind, "note", problem, advice, [])


def _finding(
    kind: str, severity: Severity, problem: str, advice: str, examples: Sequence[str]
) -> DataFinding:
    return DataFinding(
        kind=kind,
        severity=severity,
        problem=problem,
        advice=advice,
        examples=tuple(examples[:EXAMPLES]),
    )


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"1 {one}" if number == 1 else f"{number:,} {many or one + 's'}"
