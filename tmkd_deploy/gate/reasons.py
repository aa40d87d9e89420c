"""Why one engine ships and the others do not, in sentences for every report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tmkd_deploy.recipe.deployment import Preference
from tmkd_deploy.records.engine_names import engine_title
from tmkd_deploy.records.figures import Interval
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.records.verdict import Outcome, Verdict

NONE_ACCURATE = "No engine meets the accuracy budgets; this is the most accurate one."


def unmeasured(engine: str) -> str:
    """The reason given if no engine was timed."""
    return f"No engine was measured; {engine_title(engine)} is this target's first preference."


@dataclass(frozen=True)
class Standing:
    """The verdict that an engine would get, and the worst outcome of its accuracy budgets."""

    verdict: Verdict
    accuracy: Outcome

    @property
    def rank(self) -> tuple[int, int]:
        """The lower, the better."""
        return _RANK[self.verdict.outcome], _RANK[self.accuracy]

    @property
    def merit(self) -> str:
        """What sets an engine apart that was selected, after "the fastest that"."""
        if self.verdict.outcome is Outcome.INCONCLUSIVE:
            return "breaks no budget beyond doubt"
        if self.accuracy is Outcome.INCONCLUSIVE:
            return "does not break the accuracy budgets beyond doubt"
        if self.accuracy is Outcome.PASSED:
            return "meets the accuracy budgets"
        return "may ship"

    @property
    def flaw(self) -> str:
        """What speaks against an engine of another rank than the selected one."""
        if self.accuracy is Outcome.FAILED:
            return "breaks the accuracy budgets"
        for outcome, words in ((Outcome.FAILED, "breaks"), (Outcome.INCONCLUSIVE, "may break")):
            found = [each.budget for each in self.verdict.checks if each.outcome is outcome]
            if found:
                return f"{words} {' and '.join(found)}"
        return ""


_RANK = {
    Outcome.PASSED: 0,
    Outcome.NOT_JUDGED: 0,
    Outcome.INCONCLUSIVE: 1,
    Outcome.FAILED: 2,
}


def best(
    measurements: Measurements,
    selected: str,
    standing: Mapping[str, Standing],
    may_ship: Sequence[str],
    prefer: Preference,
) -> str:
    """Why the `selected` engine was selected, and how the other timed engines compare.

    `may_ship` lists the engines that the recipe allows. `prefer` is what it was selected by.
    """
    row = measurements.engine_latency(selected)
    median = f", with a median latency of {row.p50_ms:.3f} ms" if row else ""
    title, merit = engine_title(selected), standing[selected].merit
    how = "fastest" if prefer == "latency" else "smallest"
    sentences = [f"The {title} engine is the {how} that {merit}{median}."]
    size = next(each.bytes for each in measurements.engines if each.name == selected)
    for engine in measurements.engines:
        found = _time_ratio(measurements, engine.name, selected)
        if engine.name == selected or found is None:
            continue
        name, other = f"The {engine_title(engine.name)} engine", standing[engine.name]
        if other.rank > standing[selected].rank and other.flaw:
            sentences.append(f"{name} {other.flaw}.")
            continue
        only = "" if engine.name in may_ship else "; it was measured for comparison only"
        larger = ""
        if prefer == "size":
            larger = f", and its file is {engine.bytes / size:.2f} times as large"
        sentences.append(f"{name} takes {_formatted(*found)} times as long{larger}{only}.")
    if prefer == "latency":
        sentences += _why_not_int8(measurements, standing)
    return " ".join(sentences)


def _why_not_int8(measurements: Measurements, standing: Mapping[str, Standing]) -> list[str]:
    """Why INT8 does not win, and where to read more; empty if it wins.

    If several runtimes ran it, it is judged by the fastest engine that is accurate.
    """
    in_int8 = [each.name for each in measurements.engines if each.precision == "int8"]
    others = [each.name for each in measurements.engines if each.precision != "int8"]
    timed = [each for each in in_int8 if each in standing]
    if not timed or not any(each in standing for each in others):
        return []
    hint = (
        f"Run `tmkd-deploy explain RUN --target {measurements.target}` for the layers responsible "
        "and what to change."
    )
    accurate = {each for each, found in standing.items() if found.accuracy is not Outcome.FAILED}
    candidates = [each for each in timed if each in accurate]
    if not candidates:
        return [f"INT8 loses on accuracy: the ledger shows which step lost the points. {hint}"]
    quickest = min(candidates, key=lambda each: _median(measurements, each))
    ratios = {
        each: found for each in others if (found := _time_ratio(measurements, quickest, each))
    }
    faster = [each for each, (ratio, _) in ratios.items() if ratio > 1 and each in accurate]
    if not faster:
        return []
    rival = max(faster, key=lambda each: ratios[each][0])
    ratio, interval = ratios[rival]
    name = engine_title(quickest)
    than = engine_title(rival)
    times = f"its median latency is {_formatted(ratio, interval)} times that of {than}"
    if interval is not None and interval[0] <= 1:
        return [f"{name} shows no speed-up here: {times}."]
    return [f"{name} loses on speed: {times}.{_integer_layers(measurements, quickest)} {hint}"]


def _integer_layers(measurements: Measurements, name: str) -> str:
    """How much of an INT8 engine runs in integers, the usual reason for its speed."""
    engine = measurements.engine_file(name)
    if engine is None or engine.int8_layers is None or engine.total_layers is None:
        return ""
    if engine.int8_layers < engine.total_layers:
        return (
            f" Only {engine.int8_layers} of its {engine.total_layers} layers run in INT8; the "
            "others need conversions on both sides."
        )
    return (
        f" All its {engine.total_layers} layers run in INT8, so conversions or the integer "
        "arithmetic itself cost more than the narrower type saves."
    )


def _median(measurements: Measurements, engine: str) -> float:
    row = measurements.engine_latency(engine)
    return row.p50_ms if row else math.inf


def _time_ratio(
    measurements: Measurements, engine: str, other: str
) -> tuple[float, Interval | None] | None:
    """The median latency of `engine` over that of `other`, with its interval if there is one."""
    latency = measurements.latency
    medians = {row.engine: row.p50_ms for row in latency.rows} if latency else {}
    if latency is None or engine not in medians or other not in medians:
        return None
    for ratio in latency.ratios:
        low, high = ratio.interval
        if (ratio.numerator, ratio.denominator) == (engine, other):
            return ratio.ratio, (low, high)
        if (ratio.numerator, ratio.denominator) == (other, engine):
            return 1 / ratio.ratio, (1 / high, 1 / low)
    return medians[engine] / medians[other], None


def _formatted(ratio: float, interval: Interval | None) -> str:
    if interval is None:
        return f"{ratio:.2f}"
    return f"{ratio:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"
