"""The page's tables of the race, and whether the goal is reached."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks.quantizability.race_contenders import CONTENDERS, OTHERS

ALLOWED_POINTS = 1.0  # that the gate lets an engine lose against ONNX Runtime's FP32 engine
SIGNIFICANT = 0.05
GOAL = 0.85  # geometric mean of our time over the best other tool's

Line = tuple[str, str, str, dict[str, Any], dict[str, Any]]  # family, size, threads, times, top-1


def lines(found: dict[str, dict[str, Any]]) -> Iterator[Line]:
    """Every family, size and number of threads with a result."""
    for family, result in found.items():
        for size, by_threads in result.get("race", {}).get("latency", {}).items():
            for threads, timed in by_threads.items():
                yield family, size, threads, timed, result["race"]["accuracy"]


def ships(timed: dict[str, Any], accuracy: dict[str, Any]) -> str:
    """The fastest of our engines that loses at most one point."""
    top1 = accuracy["top1"]
    may = [
        name
        for name in timed["milliseconds"]
        if CONTENDERS[name].ours and 100 * (top1["fp32"] - top1[name]) <= ALLOWED_POINTS
    ]
    return min(may, key=timed["milliseconds"].__getitem__)


def rival(timed: dict[str, Any], accuracy: dict[str, Any], shipped: str) -> str:
    """The fastest of the other tools' engines that is not significantly less accurate."""
    others = [name for name in timed["milliseconds"] if name in OTHERS]
    equal = [name for name in others if not _less_accurate(accuracy, name, shipped)]
    return min(equal or others, key=timed["milliseconds"].__getitem__)


def ratio(timed: dict[str, Any], name: str, over: str) -> tuple[float, float, float]:
    """The time of `name` over that of `over`, with its interval."""
    if name == over:
        return 1.0, 1.0, 1.0
    if each := timed["ratios"].get(f"{name} / {over}"):
        return each["ratio"], *each["interval"]
    each = timed["ratios"][f"{over} / {name}"]
    low, high = each["interval"]
    return 1 / each["ratio"], 1 / high, 1 / low


def verdict(timed: dict[str, Any], accuracy: dict[str, Any]) -> str:
    """Whether the shipped engine is no slower than its rival, at no less accuracy."""
    shipped = ships(timed, accuracy)
    other = rival(timed, accuracy, shipped)
    _, low, _ = ratio(timed, shipped, other)
    if low > 1:
        return "slower"
    return "less accurate" if _less_accurate(accuracy, shipped, other) else "yes"


def render(found: dict[str, dict[str, Any]]) -> str:
    """Times of all contenders, what ships, and the verdicts; empty without results."""
    all_lines = list(lines(found))
    if not all_lines:
        return ""
    timed_names = {name for each in all_lines for name in each[3]["milliseconds"]}
    names = [name for name in CONTENDERS if name in timed_names]
    columns = ["Family", "px", "Threads", "ms", *(CONTENDERS[each].title for each in names[1:])]
    times = [
        [
            f"`{family}`",
            size,
            threads,
            f"{timed['milliseconds']['fp32']:.2f}",
            *(_times(timed, name) for name in names[1:]),
        ]
        for family, size, threads, timed, _ in all_lines
    ]
    verdicts = table(_COLUMNS, _verdicts(all_lines))
    return _TIMES + table(columns, times) + _VERDICTS + verdicts + _mean(all_lines)


_TIMES = (
    "## All runtimes\n\n"
    "Median time at batch 1 as a multiple of ONNX Runtime's FP32 engine, whose milliseconds come "
    "first; all engines of a line were timed in turns in one run. `quantize_static` is ONNX "
    "Runtime's quantizer, NNCF is OpenVINO's with its defaults.\n\n"
)
_VERDICTS = (
    "\n## What ships, against the other tools\n\n"
    f"What ships is the fastest of our engines that loses at most {ALLOWED_POINTS:g} point. The "
    "rival is the fastest of `quantize_static`, NNCF and OpenVINO's BF16 that is not significantly "
    "less accurate (McNemar, p below 0.05). The goal is reached unless the shipped engine is "
    "slower beyond the 95 % interval, or significantly less accurate.\n\n"
)
_COLUMNS = ["Family", "px", "Threads", "Ships", "Rival", "Our time / its", "Points", "Goal"]


def _verdicts(all_lines: list[Line]) -> list[list[str]]:
    rows = []
    for family, size, threads, timed, accuracy in all_lines:
        shipped = ships(timed, accuracy)
        other = rival(timed, accuracy, shipped)
        value, low, high = ratio(timed, shipped, other)
        points = 100 * (accuracy["top1"][shipped] - accuracy["top1"][other])
        rows.append(
            [
                f"`{family}`",
                size,
                threads,
                CONTENDERS[shipped].title,
                CONTENDERS[other].title,
                f"{value:.2f} ({low:.2f} to {high:.2f})",
                f"{points:+.1f}",
                verdict(timed, accuracy),
            ]
        )
    return rows


def _mean(all_lines: list[Line]) -> str:
    logs = []
    for _, _, _, timed, accuracy in all_lines:
        shipped = ships(timed, accuracy)
        logs.append(math.log(ratio(timed, shipped, rival(timed, accuracy, shipped))[0]))
    mean = math.exp(sum(logs) / len(logs))
    reached = "reached" if mean <= GOAL else "not reached"
    return (
        f"\nOver all {len(logs)} lines, the shipped engine takes {mean:.2f} of its rival's time in "
        f"the geometric mean; the goal of {GOAL:g} is {reached}.\n"
    )


def _times(timed: dict[str, Any], name: str) -> str:
    return f"{ratio(timed, name, 'fp32')[0]:.2f}" if name in timed["milliseconds"] else "–"


def _less_accurate(accuracy: dict[str, Any], name: str, than: str) -> bool:
    if name == than or accuracy["top1"][name] >= accuracy["top1"][than]:
        return False
    found = accuracy["p_values"]
    value: float = found.get(f"{name} / {than}", found.get(f"{than} / {name}"))
    return value < SIGNIFICANT


def table(columns: Sequence[str], rows: Iterable[list[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
