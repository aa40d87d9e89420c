"""The times that `time_interleaved` returns, checked before any figure is made of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError

from tmkd_deploy.agent.inference.timing import MIN_COUNTED_RUNS, ROUNDS
from tmkd_deploy.artifacts import Record
from tmkd_deploy.errors import DataError
from tmkd_deploy.recipe.schema import Measure
from tmkd_deploy.records.latency import Conditions, Throughput, Warmup

# one nanosecond is the clock's resolution; nobody waits a day for an image
_Milliseconds = Annotated[float, Field(ge=1e-6, le=86_400_000)]
_ROUNDING = 1e-6


class RawTimes(Record):
    """The result of `time_interleaved`, by engine.

    `blocks` holds the milliseconds of each counted run, one list per round. For engines whose
    session times the device, `device_ms` holds those of the device alone, `enqueue_ms` those of the
    host to start a run, and `graph_problem` says why there is no CUDA graph, if there is none.
    """

    blocks: dict[str, list[list[_Milliseconds]]]
    device_ms: dict[str, list[_Milliseconds]]
    enqueue_ms: dict[str, list[_Milliseconds]]
    graph_problem: dict[str, str | None]
    warmup: dict[str, Warmup]
    throughput: dict[str, Throughput]
    conditions: Conditions
    machine: dict[str, str | int | bool]

    @property
    def cores(self) -> int:
        """How many cores the machine has, at least 1."""
        return int(self.machine["cores"])


def raw_times(timed: Any, engines: Collection[str], settings: Measure) -> RawTimes:
    """The times of `engines`, as this machine or a device measured them with `settings`.

    Args:
        timed: the result of `time_interleaved`, possibly after a round trip through JSON.
        engines: the names of the engines that were to be timed.
        settings: those of the measurement.

    Raises:
        DataError: a figure is not finite, negative or missing, or there are fewer runs than
            `settings` ask for.
    """
    try:
        times = RawTimes.model_validate(timed)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise _refused(f"{place}: {first['msg']}") from error
    problem = _problem(times, engines, settings)
    if problem:
        raise _refused(problem)
    return times


def _problem(times: RawTimes, engines: Collection[str], settings: Measure) -> str | None:
    """What makes the times unusable although each is a possible one; None if nothing does."""
    parts: dict[str, Mapping[str, Any]] = {
        "blocks": times.blocks,
        "warmup": times.warmup,
        "throughput": times.throughput,
    }
    for name, part in parts.items():
        if {*part} != {*engines}:
            return (
                f"{name} has entries for {sorted(part)}, and must have some for {sorted(engines)}"
            )
    of_devices: dict[str, Mapping[str, Any]] = {
        "device_ms": times.device_ms,
        "enqueue_ms": times.enqueue_ms,
        "graph_problem": times.graph_problem,
    }
    for name, part in of_devices.items():
        if not {*part} <= {*engines}:
            return f"{name} has entries for {sorted(part)}"
    if not isinstance(times.machine.get("cores"), int) or times.cores < 1:
        return "machine.cores must be at least 1"
    rounds = {len(blocks) for blocks in times.blocks.values()}
    if len(rounds) != 1 or min(rounds) < ROUNDS // 2:
        return f"every engine needs the same number of rounds, at least {ROUNDS // 2}"
    return next(filter(None, (_too_few(times, name, settings) for name in engines)), None)


def _too_few(times: RawTimes, name: str, settings: Measure) -> str | None:
    blocks = times.blocks[name]
    runs = len(blocks) * len(blocks[0])
    if {len(block) for block in blocks} != {len(blocks[0])} or len(blocks[0]) < MIN_COUNTED_RUNS:
        return f"blocks.{name}: every round needs equally many runs, at least {MIN_COUNTED_RUNS}"
    seconds = sum(map(sum, blocks)) / 1000
    if runs < settings.min_runs or seconds < settings.min_seconds * (1 - _ROUNDING):
        return (
            f"blocks.{name}: {runs} runs in {seconds:.3g} s, and at least {settings.min_runs} in "
            f"{settings.min_seconds:g} s were asked for"
        )
    for part, found in (("device_ms", times.device_ms), ("enqueue_ms", times.enqueue_ms)):
        if len(found.get(name, [0.0] * runs)) != runs:
            return f"{part}.{name}: one time is needed for each of {runs} runs"
    return None


def _refused(problem: str) -> DataError:
    return DataError(
        f"The measured times cannot be right: {problem}.",
        advice="Measure again; if this recurs, check the clock and the sensors of the machine that "
        "ran the engines.",
    )
