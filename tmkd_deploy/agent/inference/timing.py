"""The latency protocol of `docs/explanation/latency.md`, run by the host and by devices."""

from __future__ import annotations

import math
import statistics
import time
from typing import TYPE_CHECKING, Any, Mapping, NamedTuple

import numpy as np

from tmkd_deploy.agent.inference.warmup import BLOCKS, is_warmed_up
from tmkd_deploy.agent.telemetry.machine import machine
from tmkd_deploy.agent.telemetry.system_monitor import SystemMonitor

if TYPE_CHECKING:
    from typing import Protocol

    class Session(Protocol):
        """What is timed, such as a `runtimes.Session`.

        What it says of its device is taken as well if it has `device_ms`, `enqueue_ms` and
        `graph_problem`.
        """

        def infer(self, images: np.ndarray) -> np.ndarray:
            """Raw pixels, uint8 [1, H, W, 3], to logits."""

    class Listener(Protocol):
        """Receives progress; a request's `writer` is one."""

        def say(self, text: str) -> None:
            """Show a line."""

        def progress(self, done: int, total: int, unit: str) -> None:
            """Report how much of the timing is done."""


# The measurement consists of about this many rounds, in each of which every engine has one turn,
# and of at least half as many, however long they take on a busy machine.
ROUNDS = 40
# The first runs of a turn find caches filled by another engine, so they are not counted.
UNCOUNTED_RUNS = 2
MIN_COUNTED_RUNS = 5
# A warm-up is given up after this many times its minimum duration, and after this many blocks.
WARMUP_LIMIT = 10
MIN_BLOCKS_BEFORE_GIVING_UP = 3 * BLOCKS
RUNS_PER_BLOCK = 3
_BURST_SECONDS = 0.5


class Settings(NamedTuple):
    """The minimum seconds of a warm-up; the minimum runs and seconds counted for each engine."""

    warmup_seconds: float
    min_runs: int
    min_seconds: float


def time_interleaved(
    sessions: Mapping[str, Session],
    images: np.ndarray,
    settings: Settings,
    listener: Listener,
    monitor: SystemMonitor,
) -> dict[str, Any]:
    """Warm up every engine and time them in turns; half-way, measure the throughput of each.

    Turns come before and after the throughput, to cover more of the machine's behaviour.

    Args:
        sessions: the engines in the order of their turns, at least one.
        images: uint8 [N, H, W, 3]; each run takes the next one, the same for every engine.
        monitor: samples the machine's conditions between turns.

    Returns:
        JSON values. By engine: `blocks`, the milliseconds of each counted run, one list per round;
        `warmup`; `throughput`. By engine whose session times its device separately: `device_ms` and
        `enqueue_ms`, one for each counted run; `graph_problem`, why it runs without a CUDA graph,
        None if it has one. Of the machine: `conditions` and `machine`.
    """
    frames = [np.ascontiguousarray(images[index : index + 1]) for index in range(len(images))]
    monitor.start()
    warmed: dict[str, dict[str, Any]] = {}
    for name, session in sessions.items():
        warmed[name] = warm_up(session, frames, settings.warmup_seconds)
        outcome = (
            "has warmed up"
            if warmed[name]["warmed_up"]
            else "has not warmed up and is timed anyway"
        )
        listener.say(f"After {warmed[name]['seconds']:.1f} s of warm-up, {name} {outcome}.")
    graph_problem = {
        name: session.graph_problem
        for name, session in sessions.items()
        if hasattr(session, "graph_problem")
    }
    for name, problem in graph_problem.items():
        if problem is not None:
            listener.say(f"{name} runs without a CUDA graph, which takes longer. {problem}")
    rounds = _InterleavedRounds(sessions, frames, settings, warmed)
    rounds.run_until(0.5, listener, monitor)
    throughput = {
        name: _throughput(session, frames, settings.min_seconds, monitor)
        for name, session in sessions.items()
    }
    rounds.run_until(1.0, listener, monitor)
    listener.progress(ROUNDS, ROUNDS, "rounds")
    return {
        "blocks": rounds.blocks,
        "device_ms": rounds.device_ms,
        "enqueue_ms": rounds.enqueue_ms,
        "graph_problem": graph_problem,
        "warmup": warmed,
        "throughput": throughput,
        "conditions": monitor.stop(),
        "machine": machine(),
    }


def warm_up(session: Session, frames: list[np.ndarray], min_seconds: float) -> dict[str, Any]:
    """Run an engine until it has warmed up, for `min_seconds` at least and ten times that at most.

    A block lasts at least 3 runs and a twentieth of `min_seconds`. If runs are so slow that ten
    times the minimum holds fewer than 60 blocks, up to 60 blocks are run.

    Returns:
        The `seconds` and `runs` it took, whether the engine has `warmed_up`, and `last_ms`, the
        median of the last blocks in milliseconds.
    """
    medians: list[float] = []
    begun = time.perf_counter()
    runs = 0
    while True:
        block: list[float] = []
        block_begun = time.perf_counter()
        while (
            len(block) < RUNS_PER_BLOCK or time.perf_counter() - block_begun < min_seconds / BLOCKS
        ):
            block.append(_run(session, frames[(runs + len(block)) % len(frames)]))
        runs += len(block)
        medians.append(statistics.median(block))
        seconds = time.perf_counter() - begun
        warmed_up = seconds >= min_seconds and is_warmed_up(medians)
        if warmed_up or (
            seconds >= WARMUP_LIMIT * min_seconds and len(medians) >= MIN_BLOCKS_BEFORE_GIVING_UP
        ):
            last = statistics.median(medians[-BLOCKS // 2 :])
            return {"seconds": seconds, "runs": runs, "warmed_up": warmed_up, "last_ms": last}


class _InterleavedRounds:
    """The rounds in which every engine has a turn, and the times measured in them.

    `blocks`, `device_ms` and `enqueue_ms` are as in `time_interleaved`.
    """

    def __init__(
        self,
        sessions: Mapping[str, Session],
        frames: list[np.ndarray],
        settings: Settings,
        warmed: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._sessions = sessions
        self._frames = frames
        self._settings = settings
        self._counted = {
            name: _runs_per_turn(settings, warmed[name]["last_ms"]) for name in sessions
        }
        self._spent = dict.fromkeys(sessions, 0.0)
        self._rounds = 0
        self.blocks: dict[str, list[list[float]]] = {name: [] for name in sessions}
        self.device_ms: dict[str, list[float]] = {
            name: [] for name, session in sessions.items() if hasattr(session, "device_ms")
        }
        self.enqueue_ms: dict[str, list[float]] = {
            name: [] for name, session in sessions.items() if hasattr(session, "enqueue_ms")
        }

    def run_until(self, share: float, listener: Listener, monitor: SystemMonitor) -> None:
        """Run rounds until `share` of what the settings ask for is done."""
        while not self._done(share):
            for name, session in self._sessions.items():
                self._turn(name, session)
                monitor.sample()
            self._rounds += 1
            listener.progress(min(self._rounds, ROUNDS), ROUNDS, "rounds")

    def _done(self, share: float) -> bool:
        least = self._settings
        return self._rounds >= share * ROUNDS / 2 and all(
            self._rounds * self._counted[name] >= share * least.min_runs
            and self._spent[name] >= share * least.min_seconds
            for name in self._sessions
        )

    def _turn(self, name: str, session: Session) -> None:
        runs = UNCOUNTED_RUNS + self._counted[name]
        first = self._rounds * runs
        turn: list[float] = []
        for run in range(runs):
            turn.append(_run(session, self._frames[(first + run) % len(self._frames)]))
            if run < UNCOUNTED_RUNS:
                continue
            if name in self.device_ms:
                self.device_ms[name].append(session.device_ms())  # type: ignore[attr-defined]
            if name in self.enqueue_ms:
                self.enqueue_ms[name].append(session.enqueue_ms())  # type: ignore[attr-defined]
        self.blocks[name].append(turn[UNCOUNTED_RUNS:])
        self._spent[name] += sum(turn[UNCOUNTED_RUNS:]) / 1000.0


def _runs_per_turn(settings: Settings, run_ms: float) -> int:
    runs = max(settings.min_runs, 1000.0 * settings.min_seconds / run_ms)
    return max(MIN_COUNTED_RUNS, math.ceil(runs / ROUNDS))


def _run(session: Session, frame: np.ndarray) -> float:
    """The milliseconds from host input ready to host output ready."""
    start = time.perf_counter_ns()
    session.infer(frame)
    return (time.perf_counter_ns() - start) / 1e6


def _throughput(
    session: Session, frames: list[np.ndarray], min_seconds: float, monitor: SystemMonitor
) -> dict[str, Any]:
    """The throughput of one caller that sends each image as soon as it has the previous logits.

    It calls in bursts of half a second. The conditions are sampled between bursts; that time is not
    counted.
    """
    for frame in frames[:UNCOUNTED_RUNS]:
        session.infer(frame)
    runs, seconds = 0, 0.0
    monitor.start_energy()
    while seconds < min_seconds:
        begun = now = time.perf_counter()
        end = begun + min(_BURST_SECONDS, min_seconds - seconds)
        while now < end:
            session.infer(frames[runs % len(frames)])
            runs += 1
            now = time.perf_counter()
        seconds += now - begun
        monitor.add_energy(now - begun)
    found: dict[str, Any] = {"images_per_second": runs / seconds, "runs": runs, "seconds": seconds}
    energy = monitor.energy()
    if energy is not None:
        energy["millijoules_per_inference"] = 1000.0 * energy["joules"] / runs
    found["energy"] = energy
    return found
