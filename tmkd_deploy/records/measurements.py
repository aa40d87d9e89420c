"""What a measurement holds: read by the gate, the bundle and the report, printed by the CLI."""

from __future__ import annotations

from tmkd_deploy.artifacts import Record

Interval = tuple[float, float]


SIGNIFICANT = 0.05


class ClassFlips(Record):
    """The test images of one true class whose decision a step changed.

    `gained` became right, `lost` became wrong, `still_wrong` went from one wrong class to another.
    `gained_from` and `lost_to` have the up to three wrong classes that these came from and went to
    most often, with counts, the most frequent first.
    """

    class_name: str
    gained: int
    lost: int
    still_wrong: int
    gained_from: dict[str, int]
    lost_to: dict[str, int]


class LedgerRow(Record):
    """One representation of the model on the test split; every row saw identical images.

    `representation` is one of teacher, student_baseline, student, student_control, fake_quantized,
    onnx, engine, and post_training for what is quantized in other ways.
    Shares (top1, macro_recall, agreement, calibration error) lie in [0, 1]. All that follows
    `compared_with` tells of the step from the row that it names: `change_points` is the change in
    top-1 in points with a 95 % paired interval, `p_value` the exact McNemar test's,
    `calibration_error_change` a difference of shares, `flips` one entry for each class with a
    changed decision, and `note` says more of some significant steps. The calibration error
    is None where a logit is not finite.
    """

    representation: str
    precision: str
    label: str
    top1: float
    top1_interval: Interval
    macro_recall: float
    agreement_with_teacher: float
    expected_calibration_error: float | None = None
    compared_with: str | None = None
    agreement_with_compared: float | None = None
    change_points: float | None = None
    change_interval: Interval | None = None
    gained: int | None = None
    lost: int | None = None
    p_value: float | None = None
    calibration_error_change: float | None = None
    flips: tuple[ClassFlips, ...] = ()
    note: str | None = None

    @property
    def significant(self) -> bool:
        """Whether the step's change in top-1 is more than chance, at the level of 5 %.

        The p-value decides; for results of an earlier version, which hold none, the interval.
        """
        if self.p_value is not None:
            return self.p_value < SIGNIFICANT
        return self.change_interval is not None and not (
            self.change_interval[0] <= 0 <= self.change_interval[1]
        )


class Warmup(Record):
    """How an engine warmed up; `warmed_up` is False where it was timed without a level time.

    `last_ms` is the median of its last blocks.
    """

    seconds: float
    runs: int
    warmed_up: bool
    last_ms: float


class Energy(Record):
    """What the rails that `source` names took, with nothing subtracted for an idle machine."""

    joules: float
    source: str
    millijoules_per_inference: float


class Throughput(Record):
    """Images one caller gets through, who asks for the next once the last one's logits are there.

    `energy` is that of the same seconds, None where the machine does not let it be read.
    """

    images_per_second: float
    runs: int
    seconds: float
    energy: Energy | None


class DeviceTime(Record):
    """Milliseconds between events on the device around an engine's work, without the copies."""

    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float


class LatencyRow(Record):
    """Latency of one engine in milliseconds, host input ready to host output ready, batch 1.

    What follows the histogram is None where it was not measured: results of an earlier version, and
    `device` for an engine whose runtime does not time its device alone.
    """

    engine: str
    label: str
    runs: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p50_interval_ms: Interval
    p99_interval_ms: Interval
    histogram_edges_ms: list[float]
    histogram_counts: list[int]
    device: DeviceTime | None = None
    throughput: Throughput | None = None
    warmup: Warmup | None = None


class Clocks(Record):
    """Whether the clocks are locked, who governs the CPU's, and the fastest of CPU and GPU."""

    locked: bool | None
    governor: str | None
    cpu_hz: int | None
    gpu_hz: int | None


class Reading(Record):
    """A machine at one moment; `load` is the mean number of runnable threads of the last minute.

    `throttle_counts` are events since it started, `throttling` what slows it down at the moment.
    """

    clocks: Clocks
    temperature_c: dict[str, float]
    throttle_counts: dict[str, int]
    throttling: list[str] | None
    load: float | None


class PowerMode(Record):
    """A Jetson's power mode."""

    id: int
    name: str


class Conditions(Record):
    """A machine before, while and after engines were timed; None is what it does not report.

    Over all `samples` (of `sample_ms` each, none during a counted run): the lowest and highest
    clocks, the highest temperature of each zone, and what throttled the machine, with the number of
    events counted or of samples that saw it.
    """

    before: Reading
    after: Reading
    power_mode: PowerMode | None
    samples: int
    sample_ms: float
    cpu_hz: tuple[int, int] | None
    gpu_hz: tuple[int, int] | None
    temperature_c: dict[str, float]
    throttled: bool | None
    throttle_events: dict[str, int]


class LatencyRatio(Record):
    """Median latency of `numerator` over that of `denominator`, paired within rounds."""

    numerator: str
    denominator: str
    ratio: float
    interval: Interval


class Latency(Record):
    """One interleaved run over all engines of a target."""

    rows: list[LatencyRow]
    ratios: list[LatencyRatio]
    protocol: dict[str, float | int | str]
    machine: dict[str, str | int | bool]
    warnings: list[str]
    conditions: Conditions | None = None


class EngineFile(Record):
    """One engine that was built: `precision` is fp32, fp16 or int8."""

    precision: str
    file: str
    bytes: int
    sha256: str
    int8_layers: int | None
    total_layers: int | None


class Measurements(Record):
    """Everything known of one target, measured or honestly not.

    `shipped` is the precision of the engine that ships; measuring names the first engine, and the
    gate, which knows the budgets, chooses. `confusion` is the shipped engine's, by true class and
    decision, on the test split; `confusion_by_engine` has all of them, by precision.
    """

    target: str
    runtime: str
    class_names: list[str]
    test_images: int
    engines: list[EngineFile]
    shipped: str
    shipped_reason: str
    ledger: list[LedgerRow]
    confusion: list[list[int]]
    confusion_by_engine: dict[str, list[list[int]]]
    latency: Latency | None
    not_measured: str | None = None
    teacher_parameters: int
    student_parameters: int
