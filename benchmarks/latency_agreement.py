"""Whether the latency protocol agrees with a minimal loop, and with itself.

python -m benchmarks.latency_agreement > benchmarks/results/latency_agreement.json

It needs an engine of ONNX Runtime, by default the demo's INT8 student, and a machine with nothing
else to do; it takes about 40 minutes, for each measurement is as long as a recipe's are by default.

Against a loop: in one run the protocol times a session in turns with a loop of a few lines over the
same ONNX Runtime session, which takes its own times and their median. Repeated 20 times.

Against itself: 100 pairs of measurements, one after the other, each in a process of its own that
opens the engine anew. Two agree if the intervals of their p50 have a value in common. (Of exact
95 % intervals of equal width, 99.4 % of pairs do.) Two stricter readings are counted as well:
whether the difference of both p50 lies within the root of the sum of both half widths' squares
(95 % for exact intervals), and whether each p50 lies in the other's interval (83 %).

The raw times are kept in --raw DIR. With --again they are not taken anew: the figures are made of
those that lie there, so that a changed rule is judged on the same measurements.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from tmkd_deploy.artifacts import write_text
from tmkd_deploy.engines.interface import Session
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.measure.latency import latency_from, measure_latency, time_here
from tmkd_deploy.recipe.schema import Measure
from tmkd_deploy.runtime.onnxruntime_session import OnnxRuntimeSession, create_session

SETTINGS = Measure(threads=1)
LOOP_RUNS = 20
PAIRS = 100
RUNS_A_CALL = 10


class MinimalLoop:
    """Takes its own times of the bare ONNX Runtime session, ten runs whenever it is called.

    `other` is who takes turns with it: how often it was called tells one turn from the next.
    """

    def __init__(self, session: onnxruntime.InferenceSession, other: Counted) -> None:
        self.session = session
        self.name = session.get_inputs()[0].name
        self.other = other
        self.turns: defaultdict[int, list[float]] = defaultdict(list)

    def infer(self, images: np.ndarray) -> np.ndarray:
        turn = self.turns[self.other.calls]
        for _ in range(RUNS_A_CALL):
            begun = time.perf_counter()
            logits: np.ndarray = self.session.run(None, {self.name: images})[0]
            turn.append(time.perf_counter() - begun)
        return logits


class Counted:
    """A session that counts its calls."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.calls = 0

    def infer(self, images: np.ndarray) -> np.ndarray:
        self.calls += 1
        return self.session.infer(images)


def pixels(session: onnxruntime.InferenceSession) -> np.ndarray:
    """Random images of the size that the engine takes."""
    side = session.get_inputs()[0].shape[1]
    return np.random.default_rng(0).integers(0, 256, (32, side, side, 3), dtype=np.uint8)


def against_a_loop(engine: str) -> dict[str, float]:
    """Median milliseconds by the protocol and by the loop, in one interleaved run."""
    session = create_session(engine, threads=SETTINGS.threads)
    ours = Counted(OnnxRuntimeSession(session))
    loop = MinimalLoop(session, ours)
    engines: dict[str, tuple[str, Session]] = {"ours": ("ours", ours), "loop": ("loop", loop)}
    rows = measure_latency(engines, pixels(session), SETTINGS, 0, SilentEvents()).rows
    p50_ms = rows[0].p50_ms
    # the first of its turns is its warm-up, and the longest left is its throughput
    turns = list(loop.turns.values())[1:]
    turns.remove(max(turns, key=len))
    bare_ms = 1000 * statistics.median(itertools.chain.from_iterable(turns))
    return {"ours_ms": p50_ms, "loop_ms": bare_ms, "ratio": p50_ms / bare_ms}


def one_measurement(engine: str) -> dict[str, Any]:
    """The raw times of one measurement."""
    session = create_session(engine, threads=SETTINGS.threads)
    sessions = {"ours": OnnxRuntimeSession(session)}
    return time_here(sessions, pixels(session), SETTINGS, SilentEvents())


def p50_of(timed: dict[str, Any]) -> dict[str, Any]:
    """The figures of one measurement."""
    row = latency_from(timed, {"ours": "ours"}, SETTINGS, 0).rows[0]
    return {"p50_ms": row.p50_ms, "interval_ms": row.p50_interval_ms}


def in_a_process(what: str, engine: str, raw: Path, number: int, again: bool) -> dict[str, Any]:
    """What `what` finds in a process of its own, or what it found there before."""
    kept = raw / f"{what}-{number}.json"
    if not (again and kept.exists()):
        command = [sys.executable, "-m", "benchmarks.latency_agreement"]
        done = subprocess.run(
            [*command, "--engine", engine, "--only", what],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        write_text(kept, done.stdout)
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def overlap(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return bool(
        first["interval_ms"][0] <= second["interval_ms"][1]
        and second["interval_ms"][0] <= first["interval_ms"][1]
    )


def differ_by_chance(first: dict[str, Any], second: dict[str, Any]) -> bool:
    halves = [(one["interval_ms"][1] - one["interval_ms"][0]) / 2 for one in (first, second)]
    return bool(abs(first["p50_ms"] - second["p50_ms"]) <= math.hypot(*halves))


def hold_each_other(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(
        one["interval_ms"][0] <= other["p50_ms"] <= one["interval_ms"][1]
        for one, other in ((first, second), (second, first))
    )


def coverage(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, int]:
    """How many pairs agree, by each reading."""
    readings: dict[str, Callable[[dict[str, Any], dict[str, Any]], bool]] = {
        "intervals_have_a_value_in_common": overlap,
        "difference_within_root_of_squared_half_widths": differ_by_chance,
        "each_p50_in_the_others_interval": hold_each_other,
    }
    return {
        "pairs": len(pairs),
        **{name: sum(agree(*pair) for pair in pairs) for name, agree in readings.items()},
    }


def everything(engine: str, loop_runs: int, count: int, raw: Path, again: bool) -> dict[str, Any]:
    """All figures, with the machine and the load they were taken under."""
    loops = [in_a_process("loop", engine, raw, run, again) for run in range(loop_runs)]
    timed = [in_a_process("one", engine, raw, run, again) for run in range(2 * count)]
    loads = [one["conditions"]["after"]["load"] for one in timed]
    measured = [p50_of(one) for one in timed]
    medians = [one["p50_ms"] for one in measured]
    return {
        "command": "python -m benchmarks.latency_agreement",
        "machine": timed[0]["machine"],
        "load_average": {"least": min(loads), "greatest": max(loads)},
        "settings": SETTINGS.model_dump(),
        "engine_bytes": Path(engine).stat().st_size,
        "against_a_minimal_loop": {
            "runs": len(loops),
            "within_3_percent": sum(abs(one["ratio"] - 1) <= 0.03 for one in loops),
            "median_ratio": statistics.median(one["ratio"] for one in loops),
            "furthest_ratio": max((one["ratio"] for one in loops), key=lambda r: abs(r - 1)),
            "all": loops,
        },
        "against_itself": {
            "one_after_the_other": coverage(list(zip(measured[::2], measured[1::2], strict=True))),
            "minutes_apart": coverage(list(zip(measured[:count], measured[count:], strict=True))),
            "half_width_percent": 100
            * statistics.median(
                (one["interval_ms"][1] - one["interval_ms"][0]) / 2 / one["p50_ms"]
                for one in measured
            ),
            "spread_of_p50_percent": 100 * statistics.pstdev(medians) / statistics.mean(medians),
            "all": measured,
        },
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="runs/quickstart/build/cpu/int8.onnx")
    parser.add_argument("--loop-runs", type=int, default=LOOP_RUNS)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--only", choices=("loop", "one"), help=argparse.SUPPRESS)
    parser.add_argument("--raw", type=Path, default=Path("runs/latency_agreement"))
    parser.add_argument("--again", action="store_true", help="use the times that lie in --raw")
    asked = parser.parse_args()
    if asked.only == "loop":
        found: dict[str, Any] = against_a_loop(asked.engine)
    elif asked.only == "one":
        found = one_measurement(asked.engine)
    else:
        found = everything(asked.engine, asked.loop_runs, asked.pairs, asked.raw, asked.again)
    print(json.dumps(found, indent=None if asked.only else 1))


if __name__ == "__main__":
    main()
