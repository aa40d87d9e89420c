"""The metrics that budgets limit, taken from the measurements of one engine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from tmkd_deploy.proportions import (
    images_to_decide_change,
    images_to_decide_share,
    mean_interval,
    paired_change_interval,
    share_interval,
)
from tmkd_deploy.records.figures import Interval
from tmkd_deploy.records.latency import LatencyRow
from tmkd_deploy.records.measurements import Measurements, Representation


@dataclass(frozen=True)
class Metric:
    """A measured value with its 95 % interval, None if it is exact.

    For a metric of test images, `images` are those it was measured on, as in "525 test images", and
    `images_to_decide` says how many it takes to tell the value from a limit; None for no number.
    """

    measured: float
    interval: Interval | None = None
    images: str = ""
    images_to_decide: Callable[[float], int | None] | None = None


@dataclass(frozen=True)
class Rule:
    """What one budget limits. `measure` takes an engine's name; it returns None without a metric.

    `gain` is the subject of a loss below zero, `missing` says why nothing was measured although the
    engine was run.
    """

    subject: str
    unit: str
    at_least: bool
    measure: Callable[[Measurements, str], Metric | None]
    gain: str = ""
    missing: str = "The measurements do not include it."


def rule(budget: str, *, model_is_given: bool = False) -> Rule:
    """The rule of a budget, such as 'accuracy' or 'recall.<class>'.

    With `model_is_given` there was no teacher, and the rule says so.
    """
    key, _, name = budget.partition(".")
    if key == "recall":
        return Rule(
            f"The recall of {name}",
            "",
            True,
            partial(_recall, name),
            missing="The test split has no image of this class.",
        )
    if key == "precision":
        return Rule(
            f"The precision of {name}",
            "",
            True,
            partial(_precision, name),
            missing="No test image was taken for this class.",
        )
    found = _RULES[key]
    if not model_is_given:
        return found
    subject, gain = (
        each.replace("the teacher", "the given model") for each in (found.subject, found.gain)
    )
    return replace(found, subject=subject, gain=gain)


def _p50(row: LatencyRow | None) -> Metric | None:
    return None if row is None else Metric(row.p50_ms, row.p50_interval_ms)


def _p99(row: LatencyRow | None) -> Metric | None:
    return None if row is None else Metric(row.p99_ms, row.p99_interval_ms)


def _speedup(measurements: Measurements, engine: str) -> Metric | None:
    """The speed-up over the teacher, or over the FP32 engine of a given model."""
    ratios = measurements.latency.ratios if measurements.latency else []
    reference = "fp32" if measurements.model_is_given else "teacher"
    if engine == reference and measurements.engine_latency(engine):
        return Metric(1.0)
    for ratio in ratios:
        if (ratio.numerator, ratio.denominator) == (reference, engine):
            return Metric(ratio.ratio, ratio.interval)
        if (ratio.numerator, ratio.denominator) == (engine, reference):
            low, high = ratio.interval
            return Metric(1 / ratio.ratio, (1 / high, 1 / low))
    return None


def _accuracy(measurements: Measurements, engine: str) -> Metric | None:
    row = measurements.engine_accuracy(engine)
    if row is None:
        return None
    return Metric(
        row.top1,
        row.top1_interval,
        _images(measurements),
        partial(images_to_decide_share, row.top1),
    )


def _drop_from(reference: Representation, measurements: Measurements, engine: str) -> Metric | None:
    """The loss against `reference` on the same images, in points; below zero for a gain."""
    row = measurements.engine_accuracy(engine)
    paired = row.against.get(reference) if row else None
    if paired is None:
        return None
    total = measurements.test_images
    low, high = paired_change_interval(paired.lost, paired.gained, total)
    return Metric(
        # shares are binary fractions: unrounded, 95 % to 94 % would exceed a budget of 1 point
        round(100 * (paired.lost - paired.gained) / total, 9),
        (100 * low, 100 * high),
        _images(measurements),
        lambda limit: images_to_decide_change(paired.lost, paired.gained, total, limit / 100),
    )


def _images(measurements: Measurements) -> str:
    split = {"val": "validation", "test": "test"}[measurements.split]
    return f"{measurements.test_images:,} {split} images"


def _recall(name: str, measurements: Measurements, engine: str) -> Metric | None:
    confusion, label = _confusion_of(name, measurements, engine)
    if not confusion:
        return None
    row = confusion[label]
    return _share(row[label], sum(row), f"{sum(row):,} test images of that class")


def _precision(name: str, measurements: Measurements, engine: str) -> Metric | None:
    confusion, label = _confusion_of(name, measurements, engine)
    predicted = sum(row[label] for row in confusion)
    if not predicted:
        return None
    return _share(
        confusion[label][label], predicted, f"{predicted:,} test images taken for that class"
    )


def _macro_recall(measurements: Measurements, engine: str) -> Metric | None:
    recalls = _recalls(measurements, engine)
    if not recalls:
        return None
    shares = [right / total for right, total in recalls]
    mean = sum(shares) / len(shares)
    interval = mean_interval(shares, [share_interval(*each) for each in recalls])
    images = sum(total for _, total in recalls)

    def images_to_decide(limit: float) -> int | None:
        if math.isclose(mean, limit, abs_tol=1e-12):
            return None
        # intervals shrink with the root of the number of images
        reach = mean - interval[0] if mean > limit else interval[1] - mean
        return round(images * (reach / (mean - limit)) ** 2) + 1

    return Metric(mean, interval, f"{images:,} test images", images_to_decide)


def _worst_class_recall(measurements: Measurements, engine: str) -> Metric | None:
    recalls = _recalls(measurements, engine)
    if not recalls:
        return None
    intervals = [share_interval(*each) for each in recalls]
    right, total = min(recalls, key=lambda each: each[0] / each[1])
    return Metric(
        right / total,
        # any class may be the worst one
        (min(low for low, _ in intervals), min(high for _, high in intervals)),
        f"{total:,} test images of that class",
        partial(images_to_decide_share, right / total),
    )


def _recalls(measurements: Measurements, engine: str) -> list[tuple[int, int]]:
    """The images recognized and all images of each class that has any; empty if not run."""
    confusion = measurements.engine_confusion(engine)
    return [(row[label], sum(row)) for label, row in enumerate(confusion) if any(row)]


def _confusion_of(
    name: str, measurements: Measurements, engine: str
) -> tuple[list[list[int]], int]:
    """The confusion matrix and the place of a class in it.

    Raises:
        ValueError: no class has this name.
    """
    return measurements.engine_confusion(engine), measurements.class_names.index(name)


def _share(right: int, total: int, images: str) -> Metric | None:
    if not total:
        return None
    share = right / total
    return Metric(
        share, share_interval(right, total), images, partial(images_to_decide_share, share)
    )


def _engine_size(measurements: Measurements, engine: str) -> Metric | None:
    file = measurements.engine_file(engine)
    return None if file is None else Metric(file.bytes / 1e6)


_RULES = {
    "latency_p50_ms": Rule(
        "The median latency", "ms", False, lambda found, of: _p50(found.engine_latency(of))
    ),
    "latency_p99_ms": Rule(
        "The p99 latency", "ms", False, lambda found, of: _p99(found.engine_latency(of))
    ),
    "frame_p50_ms": Rule(
        "The median latency of a frame",
        "ms",
        False,
        lambda found, of: _p50(found.frame_latency(of)),
    ),
    "frame_p99_ms": Rule(
        "The p99 latency of a frame", "ms", False, lambda found, of: _p99(found.frame_latency(of))
    ),
    "speedup_over_teacher": Rule("The speed-up over the teacher", "times", True, _speedup),
    "accuracy": Rule("The top-1 accuracy", "", True, _accuracy),
    "macro_recall": Rule("The mean recall of the classes", "", True, _macro_recall),
    "worst_class_recall": Rule("The recall of the worst class", "", True, _worst_class_recall),
    "accuracy_drop_points": Rule(
        "The loss of top-1 accuracy against the teacher",
        "points",
        False,
        partial(_drop_from, "teacher"),
        gain="The gain in top-1 accuracy over the teacher",
    ),
    "quantization_drop_points": Rule(
        "The loss of top-1 accuracy against the unquantized student",
        "points",
        False,
        partial(_drop_from, "student"),
        gain="The gain in top-1 accuracy over the unquantized student",
    ),
    "engine_size_mb": Rule("The engine size", "MB", False, _engine_size),
}
