"""The latency protocol of `docs/latency.md`: engines interleaved in one run, batch 1."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tmkd_deploy.engines.interface import Session
from tmkd_deploy.events import Events
from tmkd_deploy.measure.results import Latency, LatencyRatio, LatencyRow
from tmkd_deploy.measure.statistics import median_ratio_interval, percentile_interval
from tmkd_deploy.recipe.schema import Measure
from tmkd_deploy.runtime.onnxruntime_session import has_vnni, precise_int8_default

# An engine runs this often before the next one's turn; the first runs of a turn, which find the
# caches filled by another engine, are not counted.
_TURN = 12
_UNCOUNTED = 2
_HISTOGRAM_BINS = 40


def measure_latency(
    engines: Mapping[str, tuple[str, Session]],
    images: np.ndarray,
    settings: Measure,
    seed: int,
    events: Events,
) -> Latency:
    """Time every engine in turns within one run.

    Args:
        engines: for each engine's name, its label and its session. The order is that of the turns.
        images: uint8 [N, H, W, 3]; every run takes the next one, the same for every engine.
        settings: least runs and seconds counted for each engine, and its warm-up.
        seed: of the bootstrap intervals.
    """
    frames = [np.ascontiguousarray(images[index : index + 1]) for index in range(len(images))]
    for name, (label, session) in engines.items():
        _warm_up(session, frames, settings.warm_up_seconds)
        events.say(f"Warmed up {label or name}.")
    times: dict[str, list[list[float]]] = {name: [] for name in engines}
    spent = dict.fromkeys(engines, 0.0)
    seconds = round(settings.minimum_seconds * len(engines))
    task = events.begin("Timing the engines in turns", max(seconds, 1), "seconds")
    told = 0
    load_before = _load()
    try:
        while not _enough(times, spent, settings):
            first = len(times[next(iter(engines))]) * _TURN
            for name, (_, session) in engines.items():
                turn = _timed_turn(session, frames, first)
                times[name].append(turn)
                spent[name] += sum(turn) / 1000.0
            whole = min(int(sum(spent.values())), seconds)
            task.advance(whole - told)
            told = whole
    finally:
        task.finish()
    blocks = {name: np.array(rounds) for name, rounds in times.items()}
    rows = [_row(name, engines[name][0], blocks[name], seed) for name in engines]
    # the slower references go above the line, so that a ratio reads "times as fast"
    names = [name for name in ("teacher", "fp32") if name in engines]
    names += [name for name in engines if name not in names]
    ratios = [
        LatencyRatio(
            numerator=above,
            denominator=below,
            ratio=float(np.median(blocks[above]) / np.median(blocks[below])),
            interval=median_ratio_interval(blocks[above], blocks[below], seed),
        )
        for index, above in enumerate(names)
        for below in names[index + 1 :]
    ]
    return Latency(
        rows=rows,
        ratios=ratios,
        protocol={
            "batch": 1,
            "threads": settings.threads,
            "warm_up_seconds": settings.warm_up_seconds,
            "runs_a_turn": _TURN - _UNCOUNTED,
            "uncounted_runs_a_turn": _UNCOUNTED,
            "rounds": len(blocks[names[0]]),
            "boundary": "host input ready to host output ready",
            "order": "engines in turns within one run",
        },
        machine=machine(),
        warnings=_warnings(max(load_before, _load())),
    )


def machine() -> dict[str, str | int | bool]:
    """What the figures were measured on."""
    vnni = has_vnni()
    return {
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "vnni": "unknown" if vnni is None else vnni,
        "precise_int8": precise_int8_default(),
        "clocks": "not locked",
    }


def _warm_up(session: Session, frames: list[np.ndarray], seconds: float) -> None:
    """Run until times are steady: two successive medians of 20 runs within 5 %, at least once."""
    begun = time.perf_counter()
    previous = 0.0
    while True:
        turn = []
        for frame in (frames * (20 // len(frames) + 1))[:20]:
            start = time.perf_counter()
            session.infer(frame)
            turn.append(time.perf_counter() - start)
        now = float(np.median(turn))
        elapsed = time.perf_counter() - begun
        steady = abs(now - previous) <= 0.05 * now
        if elapsed >= seconds and (steady or elapsed >= 10 * seconds):
            return
        previous = now


def _timed_turn(session: Session, frames: list[np.ndarray], first: int) -> list[float]:
    turn = []
    for run in range(_TURN):
        frame = frames[(first + run) % len(frames)]
        start = time.perf_counter_ns()
        session.infer(frame)
        turn.append((time.perf_counter_ns() - start) / 1e6)
    return turn[_UNCOUNTED:]


def _enough(
    times: dict[str, list[list[float]]], spent: dict[str, float], settings: Measure
) -> bool:
    return all(
        len(rounds) * (_TURN - _UNCOUNTED) >= settings.minimum_runs
        and spent[name] >= settings.minimum_seconds
        for name, rounds in times.items()
    )


def _row(name: str, label: str, blocks: np.ndarray, seed: int) -> LatencyRow:
    p50, p90, p99 = np.percentile(blocks, [50, 90, 99]).tolist()
    # the few slowest runs would squeeze all the others into one bar
    shown = blocks[blocks <= np.percentile(blocks, 99.5)]
    counts, edges = np.histogram(shown, bins=_HISTOGRAM_BINS)
    return LatencyRow(
        engine=name,
        label=label,
        runs=int(blocks.size),
        mean_ms=float(blocks.mean()),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        p50_interval_ms=percentile_interval(blocks, 50, seed),
        p99_interval_ms=percentile_interval(blocks, 99, seed),
        histogram_edges_ms=edges.tolist(),
        histogram_counts=counts.tolist(),
    )


def _warnings(load: float) -> list[str]:
    cores = os.cpu_count() or 1
    warnings = ["The clocks are not locked: figures of another run may differ."]
    if load > 1.5 * cores:
        warnings.append(
            f"The machine was busy: its load was {load:.1f} on {cores} cores. "
            "Ratios within this run hold better than its milliseconds."
        )
    return warnings


def _load() -> float:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
