"""Compare two runs by their summary.json files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, PositiveFloat, PositiveInt, ValidationError, model_validator

from tmkd_deploy.errors import DataError
from tmkd_deploy.printable import printable
from tmkd_deploy.records.engine_names import engine_title
from tmkd_deploy.records.figures import Interval
from tmkd_deploy.records.verdict import Outcome
from tmkd_deploy.report import formatting
from tmkd_deploy.report.markdown import escape, table
from tmkd_deploy.report.tables import Table


class _Shipped(BaseModel):
    engine: str
    bytes: PositiveInt | None
    top1: float | None
    p50_ms: PositiveFloat | None
    p50_interval_ms: Interval | None
    p99_ms: PositiveFloat | None
    p99_interval_ms: Interval | None


class _Verdict(BaseModel):
    outcome: Outcome


class _Latency(BaseModel):
    machine: dict[str, Any]


class _Target(BaseModel):
    verdict: _Verdict
    shipped: _Shipped | None
    would_ship: _Shipped | None = None  # in version 1, whatever was selected shipped
    test_images: int
    latency: _Latency | None

    @model_validator(mode="after")
    def _an_engine_was_selected(self) -> _Target:
        if self.shipped is None and self.would_ship is None:
            raise ValueError("neither an engine that ships nor one that would")
        return self

    @property
    def selected(self) -> _Shipped:
        """The engine that ships, or would have."""
        found = self.shipped or self.would_ship
        assert found is not None
        return found


class _Summary(BaseModel):
    schema_version: Literal[1, 2]
    name: str
    targets: dict[str, _Target]


@dataclass(frozen=True)
class Change:
    """A metric before and after; None marks what was not measured.

    `change` is in percentage points for top-1 (`before` and `after` lie in [0, 1]) and in percent
    of `before` otherwise. `within_noise` says whether the two 95 % intervals overlap, and is None
    without intervals.
    """

    before: float | None
    after: float | None
    change: float | None
    within_noise: bool | None = None


@dataclass(frozen=True)
class TargetComparison:
    """One target that both runs have; `notes` say what limits the comparison."""

    target: str
    shipped_before: str
    shipped_after: str
    verdict_before: Outcome
    verdict_after: Outcome
    top1: Change
    latency_p50: Change
    latency_p99: Change
    engine_bytes: Change
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """Two runs: their common targets, and the targets that only one of them has."""

    before: str
    after: str
    targets: list[TargetComparison]
    only_before: list[str]
    only_after: list[str]


def compare(before: dict[str, Any], after: dict[str, Any]) -> Comparison:
    """Compare the contents of two summary.json files.

    Raises:
        DataError: one of them is not a summary of this schema version.
    """
    old, new = _read(before, "the first summary"), _read(after, "the second summary")
    return Comparison(
        before=old.name,
        after=new.name,
        targets=[
            _compare_target(name, target, new.targets[name])
            for name, target in old.targets.items()
            if name in new.targets
        ],
        only_before=[name for name in old.targets if name not in new.targets],
        only_after=[name for name in new.targets if name not in old.targets],
    )


def render_markdown(comparison: Comparison) -> str:
    """The comparison as a markdown page."""
    return printable("\n\n".join(_blocks(comparison)) + "\n", newlines=True)


def _read(content: dict[str, Any], which: str) -> _Summary:
    try:
        return _Summary.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole file"
        raise DataError(
            f"This is not a comparable summary: {first['msg'].lower()} at {key}.",
            where=which,
            advice="Pass the summary.json of a finished run. If another version wrote it, "
            "regenerate it with: tmkd-deploy report",
        ) from error


def _compare_target(name: str, before: _Target, after: _Target) -> TargetComparison:
    old, new = before.selected, after.selected
    return TargetComparison(
        target=name,
        shipped_before=old.engine,
        shipped_after=new.engine,
        verdict_before=before.verdict.outcome,
        verdict_after=after.verdict.outcome,
        top1=_change(old.top1, new.top1, lambda a, b: 100 * (b - a)),
        latency_p50=_change(
            old.p50_ms, new.p50_ms, _percent, _overlap(old.p50_interval_ms, new.p50_interval_ms)
        ),
        latency_p99=_change(
            old.p99_ms, new.p99_ms, _percent, _overlap(old.p99_interval_ms, new.p99_interval_ms)
        ),
        engine_bytes=_change(old.bytes, new.bytes, _percent),
        notes=list(_notes(before, after)),
    )


def _change(
    before: float | None,
    after: float | None,
    difference: Callable[[float, float], float],
    within_noise: bool | None = None,
) -> Change:
    if before is None or after is None:
        return Change(before, after, None)
    return Change(before, after, difference(before, after), within_noise)


def _percent(before: float, after: float) -> float:
    return 100 * (after - before) / before


def _overlap(before: Interval | None, after: Interval | None) -> bool | None:
    if before is None or after is None:
        return None
    return before[0] <= after[1] and after[0] <= before[1]


def _notes(before: _Target, after: _Target) -> Iterator[str]:
    if before.test_images != after.test_images:
        yield (
            f"The test splits differ: {before.test_images} images before, {after.test_images} "
            "after, so the change in top-1 is not due to the model alone."
        )
    if before.latency and after.latency:
        old, new = before.latency.machine, after.latency.machine
        different = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
        if different:
            yield (
                f"The machines differ in {', '.join(different)}, so the change in latency is not "
                "due to the engine alone."
            )


def _blocks(comparison: Comparison) -> Iterator[str]:
    yield f"# {escape(comparison.before)} → {escape(comparison.after)}"
    for target in comparison.targets:
        yield f"## {escape(target.target)}"
        yield table(_table(target))
        for note in target.notes:
            yield f"- {escape(note)}"
    for names, which in ((comparison.only_before, "first"), (comparison.only_after, "second")):
        if names:
            yield f"Only in the {which} run: {', '.join(map(escape, names))}."
    if not comparison.targets:
        yield "The two runs have no targets in common."


def _table(target: TargetComparison) -> Table:
    same_engine = target.shipped_before == target.shipped_after
    same_verdict = target.verdict_before == target.verdict_after
    return Table(
        "Selected engines of the two runs.",
        ["Metric", "Before", "After", "Change"],
        [
            [
                "Verdict",
                formatting.outcome(target.verdict_before),
                formatting.outcome(target.verdict_after),
                "same" if same_verdict else "changed",
            ],
            [
                "Selected engine",
                engine_title(target.shipped_before),
                engine_title(target.shipped_after),
                "same" if same_engine else "changed",
            ],
            _row("Top-1", target.top1, formatting.percent, "points"),
            _row("Latency p50", target.latency_p50, formatting.milliseconds, "%"),
            _row("Latency p99", target.latency_p99, formatting.milliseconds, "%"),
            _row(
                "Engine size", target.engine_bytes, lambda value: formatting.size(int(value)), "%"
            ),
        ],
        numeric=frozenset({1, 2, 3}),
    )


def _row(name: str, change: Change, text: Callable[[float], str], unit: str) -> list[str]:
    difference = formatting.NONE
    if change.change is not None:
        noise = ", within noise" if change.within_noise else ""
        difference = f"{formatting.points(change.change)} {unit}{noise}"
    sides = (change.before, change.after)
    shown = [formatting.NOT_MEASURED if side is None else text(side) for side in sides]
    return [name, *shown, difference]
