"""The latency protocol of `docs/explanation/latency.md`, used by the host and by devices."""

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

    from tmkd_deploy.agent.inference.sessions import Session

    class Listener(Protocol):
        """Who waits for the figures; a request's `answer` is one."""

        def say(self, text: str) -> None:
            """Something worth a line."""

        def progress(self, done: int, total: int, unit: str) -> None:
            """How much of the timing is done."""


# The measurement is parted into about so many rounds, in each of which every engine has one turn;
# never into fewer than half as many, however much time a busy machine takes for them.
ROUNDS = 40
# The first runs of a turn find the caches filled by another engine and are not counted.
UNCOUNTED_RUNS = 2
MIN_COUNTED_RUNS = 5
# How often its least time a warm-up may last, and how many blocks it may in any case see.
WARMUP_LIMIT = 10
MIN_BLOCKS_BEFORE_GIVING_UP = 3 * BLOCKS
RUNS_PER_BLOCK = 3
_BURST_SECONDS = 0.5


class Settings(NamedTuple):
    """Least seconds of a warm-up; least runs and seconds counted for each engine."""

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

    The turns lie before and after the throughput so that they span more of what the machine does.

    Args:
        sessions: the engines in the order of their turns, at least one.
        images: uint8 [N, H, W, 3]; every run takes the next one, the same for every engine.
        monitor: reads the machine's conditions between turns.

    Returns:
        What JSON can hold, by engine where not said otherwise: `blocks`, milliseconds of each
        counted run, a list for each round; `device_ms`, a list for each engine whose session times
        its device alone; `warm_up`; `throughput`; and of the machine `conditions` and `machine`.
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
        listener.say(f"After {warmed[name]['seconds']:.1f} s of warm-up {name} {outcome}.")
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
        "warmup": warmed,
        "throughput": throughput,
        "conditions": monitor.stop(),
        "machine": machine(),
    }


def warm_up(session: Session, frames: list[np.ndarray], least_seconds: float) -> dict[str, Any]:
    """Run an engine until it is steady, for `least_seconds` at least and ten times that at most.

    A block is at least 3 runs and a twentieth of `least_seconds`. Where runs are so slow that ten
    times the least time is less than 60 blocks, up to 60 blocks are run.

    Returns:
        `seconds` and `runs` it took, whether it ended `steady`, and the median of the last blocks
        in milliseconds, `last_ms`.
    """
    medians: list[float] = []
    begun = time.perf_counter()
    runs = 0
    while True:
        block: list[float] = []
        block_begun = time.perf_counter()
        while (
            len(block) < RUNS_PER_BLOCK
            or time.perf_counter() - block_begun < least_seconds / BLOCKS
        ):
            block.append(_run(session, frames[(runs + len(block)) % len(frames)]))
        runs += len(block)
        medians.append(statistics.median(block))
        seconds = time.perf_counter() - begun
        warmed_up = seconds >= least_seconds and is_warmed_up(medians)
        if warmed_up or (
            seconds >= WARMUP_LIMIT * least_seconds and len(medians) >= MIN_BLOCKS_BEFORE_GIVING_UP
        ):
            last = statistics.median(medians[-BLOCKS // 2 :])
            return {"seconds": seconds, "runs": runs, "warmed_up": warmed_up, "last_ms": last}


class _InterleavedRounds:
    """The rounds in which every engine has its turn, and what was timed in them.

    `blocks` and `device_ms` are those of `time_interleaved`.
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

    def run_until(self, share: float, listener: Listener, monitor: SystemMonitor) -> None:
        """Go on until `share` of what the settings ask for is done."""
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
            if name in self.device_ms and run >= UNCOUNTED_RUNS:
                self.device_ms[name].append(session.device_ms())  # type: ignore[attr-defined]
        self.blocks[name].append(turn[UNCOUNTED_RUNS:])
        self._spent[name] += sum(turn[UNCOUNTED_RUNS:]) / 1000.0


def _runs_per_turn(settings: Settings, run_ms: float) -> int:
    runs = max(settings.min_runs, 1000.0 * settings.min_seconds / run_ms)
    return max(MIN_COUNTED_RUNS, math.ceil(runs / ROUNDS))


def _run(session: Session, frame: np.ndarray) -> float:
    """Milliseconds from host input ready to host output ready."""
    start = time.perf_counter_ns()
    session.infer(frame)
    return (time.perf_counter_ns() - start) / 1e6


def _throughput(
    session: Session, frames: list[np.ndarray], least_seconds: float, monitor: SystemMonitor
) -> dict[str, Any]:
    """One caller, who asks for the next image as soon as the last one's logits are there.

    It calls in bursts of half a second, and looks at the machine's conditions between them; that
    time is not counted.
    """
    for frame in frames[:UNCOUNTED_RUNS]:
        session.infer(frame)
    runs, seconds = 0, 0.0
    monitor.start_energy()
    while seconds < least_seconds:
        begun = now = time.perf_counter()
        end = begun + min(_BURST_SECONDS, least_seconds - seconds)
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
