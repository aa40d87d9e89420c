"""Why an engine ships and the others do not, in sentences for every report."""

from __future__ import annotations

from collections.abc import Sequence

from tmkd_deploy.gate.judge import shipped_latency
from tmkd_deploy.records.measurements import Interval, Measurements

NONE_ACCURATE = "No engine keeps the accuracy budgets; this is the most accurate one."


def unmeasured(precision: str) -> str:
    """What is said where no engine ran."""
    return (
        f"The {precision} engine comes first in this target's order of preference; "
        "none was measured."
    )


def fastest(chosen: Measurements, accurate: Sequence[str], may_ship: Sequence[str]) -> str:
    """Why the engine ships that `chosen` names, and how the others that were timed did.

    `accurate` names the precisions that keep the accuracy budgets, `may_ship` those that the
    recipe allows.
    """
    row = shipped_latency(chosen)
    median = f"its median is {row.p50_ms:.3f} ms" if row else "its median is unknown"
    sentences = [
        f"The {chosen.shipped} engine is the fastest that keeps the accuracy budgets: {median}."
    ]
    for engine in chosen.engines:
        found = _times_as_long(chosen, engine.precision, chosen.shipped)
        if engine.precision == chosen.shipped or found is None:
            continue
        if engine.precision not in accurate:
            sentences.append(f"The {engine.precision} engine breaks the accuracy budgets.")
            continue
        allowed = "" if engine.precision in may_ship else ", and is measured to compare with alone"
        sentences.append(
            f"The {engine.precision} engine takes {_worded(*found)} times as long{allowed}."
        )
    return " ".join([*sentences, *_int8_loses(chosen, accurate)])


def _int8_loses(chosen: Measurements, accurate: Sequence[str]) -> list[str]:
    """Why INT8 does not win here, and where to read more; nothing where it wins."""
    rivals = [engine.precision for engine in chosen.engines if engine.precision != "int8"]
    against = {each: found for each in rivals if (found := _times_as_long(chosen, "int8", each))}
    if not against:
        return []
    ask = f"`tmkd-deploy explain RUN --target {chosen.target}` names the layers and what to change."
    if "int8" not in accurate:
        return [f"INT8 loses by its accuracy: the ledger shows at which step points went. {ask}"]
    slower = [each for each, (ratio, _) in against.items() if ratio > 1 and each in accurate]
    if not slower:
        return []
    rival = max(slower, key=lambda each: against[each][0])
    ratio, interval = against[rival]
    times = f"{_worded(ratio, interval)} times the {rival} engine's"
    if interval is not None and interval[0] <= 1:
        return [f"INT8 is not shown to be faster here: its median is {times}."]
    return [f"INT8 loses by its speed: its median is {times}.{_layers(chosen)} {ask}"]


def _layers(measurements: Measurements) -> str:
    """How much of the INT8 engine runs in integers, the usual reason for its speed."""
    engine = next(each for each in measurements.engines if each.precision == "int8")
    if engine.int8_layers is None or engine.total_layers is None:
        return ""
    if engine.int8_layers < engine.total_layers:
        return (
            f" Only {engine.int8_layers} of its {engine.total_layers} layers run in integers; "
            "around the others values are converted to and fro."
        )
    return (
        f" All its {engine.total_layers} layers run in integers, so conversions between them or "
        "the arithmetic itself cost more than narrow numbers save."
    )


def _times_as_long(
    measurements: Measurements, precision: str, other: str
) -> tuple[float, Interval | None] | None:
    """The median of `precision` over that of `other`, with its interval where there is one."""
    latency = measurements.latency
    medians = {row.engine: row.p50_ms for row in latency.rows} if latency else {}
    if latency is None or precision not in medians or other not in medians:
        return None
    for ratio in latency.ratios:
        low, high = ratio.interval
        if (ratio.numerator, ratio.denominator) == (precision, other):
            return ratio.ratio, (low, high)
        if (ratio.numerator, ratio.denominator) == (other, precision):
            return 1 / ratio.ratio, (1 / high, 1 / low)
    return medians[precision] / medians[other], None


def _worded(ratio: float, interval: Interval | None) -> str:
    if interval is None:
        return f"{ratio:.2f}"
    return f"{ratio:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"
