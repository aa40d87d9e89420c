"""Metrics as text: the same digits, units and signs in every format."""

from __future__ import annotations

from collections.abc import Mapping

from tmkd_deploy.records.engine_names import engine_title
from tmkd_deploy.records.verdict import GateRecord, Outcome, worst
from tmkd_deploy.report.interface import TargetReport

NOT_MEASURED = "not measured"
NONE = "–"

# a sign beside the word, so that colour is never the only signal
OUTCOME_SIGN = {
    Outcome.PASSED: "✓",
    Outcome.FAILED: "✗",
    Outcome.INCONCLUSIVE: "?",
    Outcome.NOT_JUDGED: "–",
}


def outcome(value: Outcome) -> str:
    """A sign and a word, such as '✓ passed'."""
    return f"{OUTCOME_SIGN[value]} {value.words}"


def overall(outcomes: Mapping[str, Outcome]) -> str:
    """The verdict over all targets, such as '✓ passed: 1 passed (cpu), 1 not judged (rtx-ada).'."""
    parts = []
    for each in Outcome:
        names = [name for name, found in outcomes.items() if found is each]
        if names:
            parts.append(f"{len(names)} {each.words} ({', '.join(names)})")
    told = f": {', '.join(parts)}" if parts else ""
    return f"{outcome(worst(outcomes.values()))}{told}."


def ships(target: TargetReport) -> str:
    """One sentence on the selected engine: whether it ships, and with which reservation."""
    engine = f"The {engine_title(target.gate.would_ship)} engine"
    failed = target.gate.shipped is None
    if not target.bundle_file:
        return f"{engine} {'does not ship' if failed else 'is selected, but not bundled'}."
    reservation = {
        Outcome.FAILED: "is bundled although its gate failed: the recipe asks for it "
        "(despite_verdict)",
        Outcome.INCONCLUSIVE: "is bundled, and marked as inconclusive",
        Outcome.NOT_JUDGED: "is bundled, and marked as not judged",
        Outcome.PASSED: "ships",
    }
    return f"{engine} {reservation[target.gate.verdict.outcome]}."


def selected(gate: GateRecord) -> str:
    """How tables name the selected engine, such as 'Shipped engine, INT8'."""
    kind = "Engine that would ship" if gate.shipped is None else "Shipped engine"
    return f"{kind}, {engine_title(gate.would_ship)}"


def percent(share: float, interval: tuple[float, float] | None = None) -> str:
    """A share in [0, 1] as a percentage with its interval, such as '84.2 % (81.0 to 87.1)'."""
    text = f"{100 * share:.1f} %"
    return text if interval is None else f"{text} ({_span(100 * interval[0], 100 * interval[1])})"


def points(change: float) -> str:
    """A change in percentage points with its sign, such as '−0.4'."""
    return _signed(change)


def points_interval(interval: tuple[float, float]) -> str:
    """An interval of changes in points, such as '−1.2 to +0.4'."""
    return f"{_signed(interval[0])} to {_signed(interval[1])}"


def milliseconds(value: float, interval: tuple[float, float] | None = None) -> str:
    """A latency with three significant digits and its interval, such as '1.42 ms (1.40 to 1.45)'.

    The interval has as many decimals as the value.
    """
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    text = f"{value:.{digits}f} ms"
    return text if interval is None else f"{text} ({_span(*interval, digits)})"


def ratio(value: float, interval: tuple[float, float] | None = None) -> str:
    """A ratio of latencies with its interval, such as '1.52 (1.48 to 1.57)'."""
    text = f"{value:.2f}"
    return text if interval is None else f"{text} ({_span(*interval, 2)})"


def size(count: int) -> str:
    """A number of bytes in decimal units, such as '1.31 MB'."""
    return f"{count / 1e6:.2f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def quantity(value: float, unit: str, interval: tuple[float, float] | None = None) -> str:
    """A budget's limit or measured value with its unit, such as '1.42 ms (1.4 to 1.45)'."""
    if unit == "points" and interval is not None and interval[0] < 0:
        return f"{_side(value)} ({' to '.join(map(_side, interval))})"
    number = f"{value:.4g}"
    text = f"{number} {'point' if (number, unit) == ('1', 'points') else unit}".strip()
    return text if interval is None else f"{text} ({interval[0]:.4g} to {interval[1]:.4g})"


def rate(per_second: float) -> str:
    """A number of images per second with four digits, such as '16,780 images/s'."""
    text = f"{per_second:,.0f}" if per_second >= 1000 else f"{per_second:.4g}"
    return f"{text} images/s"


def duration(seconds: float) -> str:
    """A duration, such as '0.8 s' or '3 min 20 s'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def step_conclusion(change: float, significant: bool) -> str:
    """The conclusion on a step that changed top-1 by `change` percentage points."""
    if not significant:
        return "not significant"
    return "significant loss" if change < 0 else "significant gain"


def ratio_conclusion(interval: tuple[float, float]) -> str:
    """The conclusion on the denominator of a latency ratio, from the ratio's 95 % interval."""
    if interval[0] > 1:
        return "faster"
    if interval[1] < 1:
        return "slower"
    return "no significant difference"


def _span(low: float, high: float, digits: int = 1) -> str:
    return f"{low:.{digits}f} to {high:.{digits}f}"


def _side(loss: float) -> str:
    return f"{'gain' if loss < 0 else 'loss'} {abs(loss):.2f}"


def _signed(change: float) -> str:
    rounded = round(change, 1)
    return "0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", "−")
