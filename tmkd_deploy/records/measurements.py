"""What the measure stage records: accuracy, latency and the conditions of the measurement."""

from __future__ import annotations

from typing import Literal

from tmkd_deploy.artifacts import Record
from tmkd_deploy.records.types import Precision, RuntimeName

Interval = tuple[float, float]

Representation = Literal[
    "teacher",
    "student_baseline",
    "student",
    "student_control",
    "fake_quantized",
    "onnx",
    "engine",
    "post_training",
]

SIGNIFICANT = 0.05


class ClassFlips(Record):
    """The test images of one true class whose predicted class a step changed.

    `gained` became correct, `lost` became incorrect, `still_wrong` moved from one wrong class to
    another. `gained_from` and `lost_to` count the wrong classes that gained images came from and
    lost images went to: at most three, most frequent first.
    """

    class_name: str
    gained: int
    lost: int
    still_wrong: int
    gained_from: dict[str, int]
    lost_to: dict[str, int]


class LedgerRow(Record):
    """One representation of the model on the test split; all rows use the same images.

    `post_training` rows are alternative quantizations of the student. Shares (top1, macro_recall,
    agreement, calibration error) lie in [0, 1]; the calibration error is None if any logit is not
    finite. The fields from `compared_with` on describe the step from the row it names:
    `change_points` is the change in top-1 in percentage points with its paired 95 % interval,
    `p_value` comes from the exact McNemar test, `calibration_error_change` is a difference of
    shares, `flips` has one entry per class with changed predictions, and `note` comments on some
    significant steps.
    """

    representation: Representation
    precision: Precision
    label: str
    top1: float
    top1_interval: Interval
    macro_recall: float
    agreement_with_teacher: float
    expected_calibration_error: float | None = None
    compared_with: Representation | None = None
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
        """Whether the step changed top-1 significantly, at the 5 % level.

        The p-value decides; results of earlier versions have none, so there the interval decides.
        """
        if self.p_value is not None:
            return self.p_value < SIGNIFICANT
        return self.change_interval is not None and not (
            self.change_interval[0] <= 0 <= self.change_interval[1]
        )


class Warmup(Record):
    """An engine's warm-up; `warmed_up` is False if latency was not stable when it ended.

    `last_ms` is the median latency of the last blocks.
    """

    seconds: float
    runs: int
    warmed_up: bool
    last_ms: float


class Energy(Record):
    """Energy drawn on the power rails that `source` names; idle power is not subtracted."""

    joules: float
    source: str
    millijoules_per_inference: float


class Throughput(Record):
    """Throughput of one caller that sends the next image once it has the previous logits.

    `energy` covers the same seconds; None if the machine has no readable energy counter.
    """

    images_per_second: float
    runs: int
    seconds: float
    energy: Energy | None


class DeviceTime(Record):
    """Milliseconds between device events around the inference, copies excluded."""

    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float


class LatencyRow(Record):
    """Latency of one engine in milliseconds at batch size 1, host input ready to host output ready.

    The fields after the histogram are None if not measured: in results of earlier versions, and
    `device` if the runtime has no device timer.
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
    """Whether the clocks are locked, the CPU's governor, and the highest CPU and GPU clocks."""

    locked: bool | None
    governor: str | None
    cpu_hz: int | None
    gpu_hz: int | None


class Reading(Record):
    """The machine at one moment; `load` is the one-minute load average.

    `throttle_counts` are events since boot, `throttling` the causes active at this moment.
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
    """The machine before, during and after timing; None marks what it does not report.

    Over all `samples` (of `sample_ms` each, none during a counted run): the lowest and highest
    clocks, the highest temperature of each zone, and the causes of throttling with the number of
    events or of samples that saw it.
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
    """Ratio of median latencies, `numerator` over `denominator`, paired within rounds."""

    numerator: str
    denominator: str
    ratio: float
    interval: Interval


class Latency(Record):
    """One interleaved latency measurement of all engines of a target."""

    rows: list[LatencyRow]
    ratios: list[LatencyRatio]
    protocol: dict[str, float | int | str]
    machine: dict[str, str | int | bool]
    warnings: list[str]
    conditions: Conditions | None = None


class EngineFile(Record):
    """One engine and, if its builder lists layers, how many of its weighted layers run in INT8."""

    precision: Precision
    file: str
    bytes: int
    sha256: str
    int8_layers: int | None
    total_layers: int | None


class Measurements(Record):
    """Accuracy and latency of all engines of one target.

    `confusion_by_engine` maps a precision to its confusion matrix on the test split, by true class
    (row) and predicted class (column). `latency` is None, and `not_measured` says why, if nothing
    available runs the engines.
    """

    target: str
    runtime: RuntimeName
    class_names: list[str]
    test_images: int
    engines: list[EngineFile]
    ledger: list[LedgerRow]
    confusion_by_engine: dict[str, list[list[int]]]
    latency: Latency | None
    not_measured: str | None = None
    teacher_parameters: int
    student_parameters: int

    def ledger_row(
        self, representation: Representation, precision: Precision | None = None
    ) -> LedgerRow | None:
        """The first ledger row of a representation, in `precision` if one is given."""
        rows = (
            row
            for row in self.ledger
            if row.representation == representation and precision in (None, row.precision)
        )
        return next(rows, None)

    def engine_accuracy(self, precision: Precision) -> LedgerRow | None:
        """The ledger row of an engine; None if the engine was not run."""
        return self.ledger_row("engine", precision)

    def engine_latency(self, engine: str) -> LatencyRow | None:
        """The latency of an engine, or of 'teacher'; None if it was not timed."""
        rows = self.latency.rows if self.latency else []
        return next((row for row in rows if row.engine == engine), None)

    def engine_file(self, precision: Precision) -> EngineFile | None:
        """The engine built in `precision`."""
        return next((each for each in self.engines if each.precision == precision), None)
