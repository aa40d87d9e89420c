"""Latency, throughput, energy and the conditions they were measured under."""

from __future__ import annotations

from pydantic import model_validator

from tmkd_deploy.artifacts import Record
from tmkd_deploy.records.figures import (
    AtLeastOne,
    Celsius,
    Count,
    NotNegative,
    Positive,
    PositiveInterval,
    require_ascending,
)


class Warmup(Record):
    """An engine's warm-up; `warmed_up` is False if latency was not stable when it ended.

    `last_ms` is the median latency of the last blocks.
    """

    seconds: Positive
    runs: AtLeastOne
    warmed_up: bool
    last_ms: Positive


class Energy(Record):
    """Energy drawn on the power rails that `source` names; idle power is not subtracted."""

    joules: NotNegative
    source: str
    millijoules_per_inference: NotNegative


class Throughput(Record):
    """Throughput of one caller that sends the next image once it has the previous logits.

    `energy` covers the same seconds; None if the machine has no readable energy counter.
    """

    images_per_second: Positive
    runs: AtLeastOne
    seconds: Positive
    energy: Energy | None


class DeviceTime(Record):
    """Milliseconds between device events around the inference, copies excluded.

    `enqueue_p50_ms` is the host's median time to start an inference and its copies, and
    `cuda_graph` whether it starts them by a single call; None in results of earlier versions.
    """

    mean_ms: Positive
    p50_ms: Positive
    p90_ms: Positive
    p99_ms: Positive
    enqueue_p50_ms: Positive | None = None
    cuda_graph: bool | None = None

    @model_validator(mode="after")
    def _in_order(self) -> DeviceTime:
        require_ascending("p50, p90 and p99", self.p50_ms, self.p90_ms, self.p99_ms)
        return self


class LatencyRow(Record):
    """Latency of one engine in milliseconds at batch size 1, host input ready to host output ready.

    The fields after the histogram are None if not measured: in results of earlier versions, and
    `device` if the runtime has no device timer.
    """

    engine: str
    label: str
    runs: AtLeastOne
    mean_ms: Positive
    p50_ms: Positive
    p90_ms: Positive
    p99_ms: Positive
    p50_interval_ms: PositiveInterval
    p99_interval_ms: PositiveInterval
    histogram_edges_ms: list[float]
    histogram_counts: list[Count]
    device: DeviceTime | None = None
    throughput: Throughput | None = None
    warmup: Warmup | None = None

    @model_validator(mode="after")
    def _in_order(self) -> LatencyRow:
        require_ascending("p50, p90 and p99", self.p50_ms, self.p90_ms, self.p99_ms)
        for name, value, (low, high) in (
            ("p50", self.p50_ms, self.p50_interval_ms),
            ("p99", self.p99_ms, self.p99_interval_ms),
        ):
            require_ascending(f"the interval around {name}", low, value, high)
        require_ascending("the histogram's edges", *self.histogram_edges_ms)
        if len(self.histogram_edges_ms) != len(self.histogram_counts) + 1:
            raise ValueError("a histogram needs one edge more than it has counts")
        return self


class Clocks(Record):
    """Whether the clocks are locked, the CPU's governor, and the highest CPU and GPU clocks."""

    locked: bool | None
    governor: str | None
    cpu_hz: Count | None
    gpu_hz: Count | None


class Reading(Record):
    """The machine at one moment; `load` is the one-minute load average.

    `throttle_counts` are events since boot, `throttling` the causes active at this moment.
    """

    clocks: Clocks
    temperature_c: dict[str, Celsius]
    throttle_counts: dict[str, Count]
    throttling: list[str] | None
    load: NotNegative | None


class PowerMode(Record):
    """A Jetson's power mode."""

    id: Count
    name: str


class Conditions(Record):
    """The machine before, during and after timing; None marks what it does not report.

    Over all `samples` (of `sample_ms` each, none during a counted run): the lowest and highest
    clocks, the highest temperature of each zone, and the causes of throttling with the number of
    events or of samples that saw it.
    """

    before: Reading
    after: Reading
    power_mode: PowerMode | None
    samples: AtLeastOne
    sample_ms: NotNegative
    cpu_hz: tuple[Count, Count] | None
    gpu_hz: tuple[Count, Count] | None
    temperature_c: dict[str, Celsius]
    throttled: bool | None
    throttle_events: dict[str, Count]

    @model_validator(mode="after")
    def _in_order(self) -> Conditions:
        for name, clocks in (("cpu_hz", self.cpu_hz), ("gpu_hz", self.gpu_hz)):
            require_ascending(name, *(clocks or ()))
        return self


class LatencyRatio(Record):
    """Ratio of median latencies, `numerator` over `denominator`, paired within rounds."""

    numerator: str
    denominator: str
    ratio: Positive
    interval: PositiveInterval

    @model_validator(mode="after")
    def _in_order(self) -> LatencyRatio:
        low, high = self.interval
        require_ascending("the interval around the ratio", low, self.ratio, high)
        return self


class FrameLatency(Record):
    """Latency from a raw RGB frame in host memory to its label and confidence, by `predict`.

    `rows` has one of each engine that may ship, `resizing` is the part before the engine. All were
    timed in turns with the engines alone.
    """

    width: AtLeastOne
    height: AtLeastOne
    resizing: LatencyRow
    rows: list[LatencyRow]


class Latency(Record):
    """One interleaved latency measurement of all engines of a target.

    `frame` is None if the recipe names no frame.
    """

    rows: list[LatencyRow]
    ratios: list[LatencyRatio]
    protocol: dict[str, int | float | str]
    machine: dict[str, str | int | bool]
    warnings: list[str]
    conditions: Conditions | None = None
    frame: FrameLatency | None = None

    @model_validator(mode="after")
    def _frames_are_of_its_engines(self) -> Latency:
        frames = {row.engine for row in self.frame.rows} if self.frame else set()
        if not frames <= {row.engine for row in self.rows}:
            raise ValueError("frames are timed with engines that are timed alone as well")
        return self
