"""What the gate records for one target."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from pydantic import Field, model_validator

from tmkd_deploy.artifacts import Record
from tmkd_deploy.errors import ExitCode
from tmkd_deploy.records.figures import Interval
from tmkd_deploy.records.latency import LatencyRow
from tmkd_deploy.records.measurements import EngineFile, LedgerRow, Measurements
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


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Failed before inconclusive before passed; passed if there are none."""
    found = set(outcomes)
    return next(
        (each for each in (Outcome.FAILED, Outcome.INCONCLUSIVE) if each in found), Outcome.PASSED
    )


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

    @model_validator(mode="after")
    def _nothing_is_decided_without_a_measurement(self) -> Check:
        if self.measured is None and self.outcome is not Outcome.INCONCLUSIVE:
            raise ValueError("a budget whose metric was not measured is inconclusive")
        return self


class Verdict(Record):
    """All checks of one target and the worst of their outcomes; passed if there are no budgets.

    `warnings` are sentences on what the budgets do not cover, such as engines that cannot ship.
    """

    target: str
    outcome: Outcome
    checks: list[Check]
    warnings: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _the_worst_check_decides(self) -> Verdict:
        if self.outcome is not worst(check.outcome for check in self.checks):
            raise ValueError("a verdict is the worst of its checks")
        return self


class GateRecord(Record):
    """The engine that ships for one target, why it was selected, and its verdict."""

    shipped: Precision
    reason: str
    verdict: Verdict
    measurements: Measurements

    @model_validator(mode="after")
    def _only_a_usable_engine_ships(self) -> GateRecord:
        if self.engine is None or self.shipped in self.measurements.unusable:
            raise ValueError(f"the {self.shipped} engine cannot ship: it is missing or unusable")
        return self

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
