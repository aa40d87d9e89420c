"""Bundles, and what they say of labelled images, as text for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType

from tmkd_deploy.bundle.evaluate import Evaluation, Share
from tmkd_deploy.cli.render import as_text, grid
from tmkd_deploy.records.figures import Interval
from tmkd_deploy.records.verdict import Outcome
from tmkd_deploy.report import formatting
from tmkd_deploy.report.tables import Table
from tmkd_deploy.runtime import BundledEngine, Classifier, Manifest
from tmkd_deploy.runtime.archive import Contents
from tmkd_deploy.runtime.bundle_engine import title_of

_CLASSES_NAMED = 8
_CLASSES_CROSSED = 8  # a larger matrix does not fit into 80 columns
_MISTAKES_LISTED = 10
_UNUSABLE_LISTED = 10
_HASH_DIGITS = 12


def summary(contents: Contents) -> str:
    """A bundle in a few lines."""
    manifest = contents.manifest
    about = {
        "Bundle": manifest.name,
        "Classes": _classes(manifest),
        "Input": f"{manifest.width} × {manifest.height} pixels, RGB",
        "File": _file(contents.size, contents.sha256),
        "Made by": f"tmkd-deploy {manifest.tool_version}",
    }
    files = {
        f"  {name}": _file(entry.bytes, entry.sha256)
        for name, entry in sorted(manifest.files.items())
    }
    return as_text(
        [
            *_aligned(about),
            *(line for engine in manifest.engines for line in _engine(engine)),
            "\nContents:",
            *_aligned(files),
            "\nThe whole manifest: add --json.",
        ]
    )


def _engine(engine: BundledEngine) -> list[str]:
    about = {
        "Verdict": formatting.outcome(Outcome(engine.gate)),
        "Accuracy": _accuracy(engine),
        "Latency": _latency(engine),
        "Decision": _decision(engine),
        "Runs on": _runs_on(engine),
    }
    explained = [check.get("explanation") for check in engine.gate_checks]
    budgets = [f"    {each}" for each in explained if isinstance(each, str)]
    return [
        f"\n{title_of(engine)}:",
        *(f"  {line}" for line in _aligned(about)),
        *(["  Budgets:", *budgets] if budgets else []),
    ]


def _runs_on(engine: BundledEngine) -> str:
    made_for = engine.made_for
    if made_for is None:
        return "machines that build it" if engine.build else "any machine with the runtime"
    core = f", DLA core {made_for.dla_core}" if made_for.dla_core is not None else ""
    there = f"release {made_for.release}, compute capability {made_for.compute_capability}{core}"
    return f"{there}; others build it" if engine.build else there


def evaluation(found: Evaluation, classifier: Classifier) -> str:
    """The evaluation with its tables, then the images that were not used."""
    engine = classifier.engine
    total = found.top1.total
    blocks: list[RenderableType] = [
        f"{classifier.manifest.name}, {title_of(engine)}, on {total:,} images",
        f"Top-1: {_share(found.top1)}",
    ]
    if engine.threshold is not None:
        blocks.append(_decision(engine))
    blocks += ["", grid(_by_class(found)), "", *_mistakes(found)]
    blocks += list(found.notes)
    unusable = found.unusable
    if unusable:
        count = len(unusable)
        blocks.append(f"\n{count:,} {'image' if count == 1 else 'images'} cannot be used:")
        blocks += [f"  {row.path}: {row.problem}" for row in unusable[:_UNUSABLE_LISTED]]
        if count > _UNUSABLE_LISTED:
            blocks.append(f"  and {count - _UNUSABLE_LISTED:,} more; --json and --csv list all")
    return as_text(blocks)


def _aligned(lines: Mapping[str, str]) -> list[str]:
    width = max(map(len, lines))
    return [f"{key:<{width}}  {value}" for key, value in lines.items()]


def _classes(manifest: Manifest) -> str:
    names = manifest.class_names
    shown = ", ".join(names[:_CLASSES_NAMED]) + (", ..." if len(names) > _CLASSES_NAMED else "")
    return f"{len(names)}: {shown}"


def _decision(engine: BundledEngine) -> str:
    if engine.threshold is None:
        return "The class with the highest score is the answer."
    return (
        f'An image counts as "{engine.guarded_class}" from a probability of '
        f"{engine.threshold:.4g} upwards."
    )


def _accuracy(engine: BundledEngine) -> str:
    document = engine.accuracy or {}
    top1 = _number(document, "top1")
    if top1 is None:
        return formatting.NOT_MEASURED
    return f"{formatting.percent(top1, _interval(document, 'top1_interval'))} top-1"


def _latency(engine: BundledEngine) -> str:
    document = engine.latency or {}
    p50, p99 = _number(document, "p50_ms"), _number(document, "p99_ms")
    if p50 is None:
        return formatting.NOT_MEASURED
    median = formatting.milliseconds(p50, _interval(document, "p50_interval_ms"))
    tail = f", p99 {formatting.milliseconds(p99)}" if p99 is not None else ""
    threads = engine.threads
    on = f", {threads} {'thread' if threads == 1 else 'threads'}" if threads else ""
    return f"{median} median{tail}{on}"


def _number(document: Mapping[str, Any], key: str) -> float | None:
    """A number of a manifest, whose figures may be anything."""
    value = document.get(key)
    return float(value) if isinstance(value, int | float) else None


def _interval(document: Mapping[str, Any], key: str) -> Interval | None:
    value = document.get(key)
    if not isinstance(value, list) or len(value) != 2:
        return None
    low, high = value
    return (low, high) if {type(low), type(high)} <= {int, float} else None


def _file(size: int, sha256: str) -> str:
    return f"{formatting.size(size)}, SHA-256 {sha256[:_HASH_DIGITS]}…"


def _share(share: Share) -> str:
    return (
        formatting.NONE if share.value is None else formatting.percent(share.value, share.interval)
    )


def _by_class(found: Evaluation) -> Table:
    rows = [
        [name, f"{recall.total:,}", _share(recall), f"{precision.total:,}", _share(precision)]
        for name, recall, precision in zip(
            found.class_names, found.recall, found.precision, strict=True
        )
    ]
    return Table(
        "",
        ["Class", "Images", "Recall", "Predicted", "Precision"],
        rows,
        numeric=frozenset({1, 2, 3, 4}),
    )


def _mistakes(found: Evaluation) -> list[RenderableType]:
    """The confusion matrix, or the most frequent mistakes where it would be too wide."""
    names, confusion = list(found.class_names), found.confusion
    if len(names) <= _CLASSES_CROSSED:
        rows = [[name, *map(str, row)] for name, row in zip(names, confusion, strict=True)]
        columns = ["True class, taken for", *names]
        numeric = frozenset(range(1, len(columns)))
        return [grid(Table("", columns, rows, numeric)), ""]
    mistakes = [
        (count, names[true], names[predicted])
        for true, row in enumerate(confusion)
        for predicted, count in enumerate(row)
        if true != predicted and count
    ]
    mistakes.sort(key=lambda each: (-each[0], *each[1:]))
    listed = [[true, predicted, str(count)] for count, true, predicted in mistakes]
    table = Table(
        "", ["True class", "Taken for", "Images"], listed[:_MISTAKES_LISTED], frozenset({2})
    )
    return [grid(table), ""] if listed else []
