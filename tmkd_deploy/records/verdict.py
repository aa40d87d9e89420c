"""What the gate records for one target."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from pydantic import Field, model_validator

from tmkd_deploy.artifacts import Record
from tmkd_deploy.errors import ExitCode
from tmkd_deploy.records.figures import Interval, Share
from tmkd_deploy.records.latency import LatencyRow
from tmkd_deploy.records.measurements import EngineFile, LedgerRow, Measurements


class Outcome(str, Enum):
    """Whether budgets are met.

    Inconclusive if the measurement cannot decide; not judged if there is no budget, nobody ran the
    engine, or the test split repeats training images.
    """

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    NOT_JUDGED = "not_judged"

    @property
    def words(self) -> str:
        """The outcome for people, such as 'not judged'."""
        return self.value.replace("_", " ")

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of a command that ends with this outcome."""
        return {
            Outcome.PASSED: ExitCode.OK,
            Outcome.FAILED: ExitCode.GATE_FAILED,
            Outcome.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
            Outcome.NOT_JUDGED: ExitCode.INCONCLUSIVE,
        }[self]


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Of several checks or targets: failed before inconclusive before passed.

    What was not judged counts only where nothing was.
    """
    found = set(outcomes)
    order = (Outcome.FAILED, Outcome.INCONCLUSIVE, Outcome.PASSED)
    return next((each for each in order if each in found), Outcome.NOT_JUDGED)


class Check(Record):
    """One budget compared with its measured value.

    `limit` and `measured` are in `unit`. `interval` is the 95 % interval of `measured`; None for
    what is exact, the size of a file.
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
        if self.outcome is Outcome.NOT_JUDGED:
            raise ValueError("a budget that is set is judged")
        return self


class Verdict(Record):
    """All checks of one target and the worst of their outcomes.

    Where that would be "passed", it is "not judged" if there are no budgets, nobody ran the engine,
    or the test split repeats training images; `not_judged` says so in a sentence. `warnings` are
    sentences on what the budgets do not cover, such as engines that cannot ship.
    """

    target: str
    outcome: Outcome
    checks: list[Check]
    not_judged: str | None = None
    warnings: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _the_worst_check_decides(self) -> Verdict:
        decided = worst(check.outcome for check in self.checks)
        if decided is Outcome.PASSED and self.not_judged:
            decided = Outcome.NOT_JUDGED
        if self.outcome is not decided:
            raise ValueError("a verdict is the worst of its checks")
        if self.outcome is Outcome.NOT_JUDGED and not self.not_judged:
            raise ValueError("a verdict of what was not judged says why")
        return self


class GateRecord(Record):
    """The engine that was selected for one target, why, and its verdict.

    `would_ship` names the selected engine; `shipped` is the same, or None if its verdict is
    "failed".
    `threshold` is the decision threshold for `guarded_class`, the class that must not be missed, in
    [0, 1]; None if the class with the highest score is the answer.
    """

    would_ship: str
    shipped: str | None
    reason: str
    verdict: Verdict
    measurements: Measurements
    threshold: Share | None = None
    guarded_class: str | None = None

    @model_validator(mode="after")
    def _only_a_usable_engine_ships(self) -> GateRecord:
        file = self.measurements.engine_file(self.would_ship)
        if file is None or self.would_ship in self.measurements.unusable:
            raise ValueError(f"the {self.would_ship} engine cannot ship: it is missing or unusable")
        failed = self.verdict.outcome is Outcome.FAILED
        if self.shipped != (None if failed else self.would_ship):
            raise ValueError("the selected engine ships, unless its gate failed")
        return self

    @model_validator(mode="after")
    def _what_nobody_ran_has_not_passed(self) -> GateRecord:
        if self.verdict.outcome is Outcome.PASSED and not self.measurements.ran(self.would_ship):
            raise ValueError("an engine that nobody ran cannot pass")
        return self

    @property
    def accuracy(self) -> LedgerRow | None:
        """The selected engine's ledger row; None if the engine was not run."""
        return self.measurements.engine_accuracy(self.would_ship)

    @property
    def latency(self) -> LatencyRow | None:
        """The selected engine's latency; None if it was not timed."""
        return self.measurements.engine_latency(self.would_ship)

    @property
    def engine(self) -> EngineFile:
        """The selected engine's file."""
        engines = self.measurements.engines
        return next(each for each in engines if each.name == self.would_ship)

    @property
    def confusion(self) -> list[list[int]]:
        """The selected engine's confusion matrix; empty if the engine was not run."""
        return self.measurements.engine_confusion(self.would_ship)
