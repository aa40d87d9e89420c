"""What the gate records for one target."""

from __future__ import annotations

from enum import Enum

from tmkd_deploy.artifacts import Record
from tmkd_deploy.errors import ExitCode
from tmkd_deploy.records.measurements import (
    EngineFile,
    Interval,
    LatencyRow,
    LedgerRow,
    Measurements,
)
from tmkd_deploy.records.types import Precision


class Outcome(str, Enum):
    """Whether a budget is met; inconclusive if the measurement cannot decide."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of a command that ends with this outcome."""
        return {
            Outcome.PASSED: ExitCode.OK,
            Outcome.FAILED: ExitCode.GATE_FAILED,
            Outcome.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
        }[self]


class Check(Record):
    """One budget compared with its measured value.

    `limit` and `measured` are in `unit`. `interval` is the 95 % interval of `measured` for latency
    metrics, and None for metrics that are exact for this file and this test set.
    """

    budget: str
    limit: float
    measured: float | None
    interval: Interval | None
    unit: str
    outcome: Outcome
    explanation: str


class Verdict(Record):
    """All checks of one target and the worst of their outcomes; passed if there are no budgets."""

    target: str
    outcome: Outcome
    checks: list[Check]


class GateRecord(Record):
    """The engine that ships for one target, why it was selected, and its verdict."""

    shipped: Precision
    reason: str
    verdict: Verdict
    measurements: Measurements

    @property
    def accuracy(self) -> LedgerRow | None:
        """The shipped engine's ledger row; None if the engine was not run."""
        return self.measurements.engine_accuracy(self.shipped)

    @property
    def latency(self) -> LatencyRow | None:
        """The shipped engine's latency; None if it was not timed."""
        return self.measurements.engine_latency(self.shipped)

    @property
    def engine(self) -> EngineFile | None:
        """The shipped engine's file."""
        return self.measurements.engine_file(self.shipped)

    @property
    def confusion(self) -> list[list[int]]:
        """The shipped engine's confusion matrix; empty if there is none."""
        return self.measurements.confusion_by_engine.get(self.shipped, [])
