"""Latency statistics from raw times that were measured here or on a device.

`agent/inference/timing.py` measures them, by the protocol in `docs/explanation/latency.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tmkd_deploy.agent.inference.timing import UNCOUNTED_RUNS, Settings, time_interleaved
from tmkd_deploy.agent.telemetry.machine import machine
from tmkd_deploy.agent.telemetry.system_monitor import SystemMonitor
from tmkd_deploy.engines.interface import Session
from tmkd_deploy.events import Events, Task
from tmkd_deploy.measure.frame import FrameTiming
from tmkd_deploy.measure.raw_times import RawTimes, raw_times
from tmkd_deploy.measure.statistics import median_ratio_interval, percentile_interval
from tmkd_deploy.printable import printable
from tmkd_deploy.recipe.schema import Measure
from tmkd_deploy.records.latency import DeviceTime, Latency, LatencyRatio, LatencyRow

__all__ = ["latency_from", "machine", "measure_latency", "time_here"]

_HISTOGRAM_BINS = 40
_CLOCKS = {True: "locked", False: "not locked", None: "unknown"}


def measure_latency(
    engines: Mapping[str, tuple[str, Session]],
    images: np.ndarray,
    settings: Measure,
    seed: int,
    events: Events,
) -> Latency:
    """Time engines on this machine, interleaved within one run.

    Args:
        engines: the label and session of each engine by name, in the order of their turns.
        images: uint8 [N, H, W, 3]; each run takes the next one, the same for every engine.
        settings: minimum counted runs and seconds of each engine, and its warm-up.
        seed: for the bootstrap intervals.
        events: receives progress.
    """
    sessions = {name: session for name, (_, session) in engines.items()}
    labels = {name: label for name, (label, _) in engines.items()}
    return latency_from(time_here(sessions, images, settings, events), labels, settings, seed)


def time_here(
    sessions: Mapping[str, Session], images: np.ndarray, settings: Measure, events: Events
) -> dict[str, Any]:
    """The raw times for `measure_latency`, as `time_interleaved` returns them."""
    listener = _Listener(events)
    try:
        return time_interleaved(
            sessions,
            images,
            Settings(settings.warmup_seconds, settings.min_runs, settings.min_seconds),
            listener,
            SystemMonitor(),
        )
    finally:
        listener.finish()


def latency_from(
    timed: Mapping[str, Any],
    labels: Mapping[str, str],
    settings: Measure,
    seed: int,
    frame: FrameTiming | None = None,
) -> Latency:
    """Percentiles, intervals and ratios from the raw times of `time_interleaved`.

    Args:
        timed: its result, possibly after a round trip through JSON.
        labels: of the engines by name, in the order of the rows.
        settings: those of the measurement.
        seed: for the bootstrap intervals.
        frame: whose sessions were timed as well.

    Raises:
        DataError: as `raw_times`.
    """
    everything = {**labels, **(frame.labels(labels) if frame else {})}
    times = raw_times(timed, everything, settings)
    blocks = {name: np.array(times.blocks[name]) for name in everything}
    rows = {
        name: _row(times, name, label, blocks[name], seed) for name, label in everything.items()
    }
    # the slower references are numerators, so that a ratio is a speed-up
    names = [name for name in ("teacher", "fp32") if name in labels]
    names += [name for name in labels if name not in names]
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
        rows=[rows[name] for name in labels],
        ratios=ratios,
        protocol={
            "batch": 1,
            "threads": settings.threads,
            "warmup_seconds": settings.warmup_seconds,
            "rounds": len(blocks[names[0]]),
            "uncounted_runs_a_turn": UNCOUNTED_RUNS,
            "boundary": "host input ready to host output ready",
            "order": "engines interleaved within one run",
            "throughput": "one back-to-back caller, half-way through the rounds",
        },
        machine={**times.machine, "clocks": _CLOCKS[times.conditions.before.clocks.locked]},
        warnings=_warnings(times, everything),
        conditions=times.conditions,
        frame=frame.latency(rows) if frame else None,
    )


def _row(times: RawTimes, name: str, label: str, blocks: np.ndarray, seed: int) -> LatencyRow:
    p50, p90, p99 = np.percentile(blocks, [50, 90, 99]).tolist()
    # the few slowest runs would compress all others into one bar
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
        device=_device_time(times, name),
        throughput=times.throughput[name],
        warmup=times.warmup[name],
    )


def _device_time(times: RawTimes, name: str) -> DeviceTime | None:
    found = times.device_ms.get(name)
    if found is None:
        return None
    p50, p90, p99 = np.percentile(found, [50, 90, 99]).tolist()
    enqueue = times.enqueue_ms.get(name)
    return DeviceTime(
        mean_ms=float(np.mean(found)),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        enqueue_p50_ms=None if enqueue is None else float(np.median(enqueue)),
        cuda_graph=times.graph_problem[name] is None if name in times.graph_problem else None,
    )


def _warnings(times: RawTimes, labels: Mapping[str, str]) -> list[str]:
    warnings = []
    conditions = times.conditions
    locked = conditions.before.clocks.locked and conditions.after.clocks.locked
    if locked is None:
        warnings.append("Clock-lock status is unknown. Results of other runs may differ.")
    elif not locked:
        warnings.append("The clocks are not locked. Results of other runs may differ.")
    if conditions.throttled:
        causes = ", ".join(f"{name} {count}" for name, count in conditions.throttle_events.items())
        warnings.append(
            f"The machine throttled during the measurement ({causes}), which affects absolute "
            "latencies."
        )
    for name, label in labels.items():
        problem = times.graph_problem.get(name)
        if problem is not None:
            warnings.append(
                f"'{label or name}' ran without a CUDA graph, which takes longer to start: "
                f"{printable(problem, 300)}"
            )
        warmed = times.warmup[name]
        if not warmed.warmed_up:
            warnings.append(
                f"The latency of '{label or name}' was still changing after "
                f"{warmed.seconds:.0f} seconds of warm-up."
            )
    load = max(conditions.before.load or 0.0, conditions.after.load or 0.0)
    if load > 1.5 * times.cores:
        warnings.append(
            f"The machine was busy (load {load:.1f} on {times.cores} cores). Ratios between "
            "engines are more reliable than absolute latencies."
        )
    return warnings


class _Listener:
    """Forwards the timing's messages and progress to the stage's events."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._task: Task | None = None
        self._reported = 0

    def say(self, text: str) -> None:
        self._events.say(text)

    def progress(self, done: int, total: int, unit: str) -> None:
        if self._task is None:
            self._task = self._events.begin("Timing engines", total, unit)
        self._task.advance(done - self._reported)
        self._reported = done

    def finish(self) -> None:
        if self._task is not None:
            self._task.finish()
