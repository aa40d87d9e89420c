"""What a gate says of one target."""

from __future__ import annotations

from enum import Enum

from tmkd_deploy.artifacts import Record
from tmkd_deploy.errors import ExitCode


class Outcome(str, Enum):
    """Whether a budget is kept; inconclusive where the measurement cannot tell."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"

    @property
    def exit_code(self) -> ExitCode:
        """What the process tells its caller."""
        return {
            Outcome.PASSED: ExitCode.OK,
            Outcome.FAILED: ExitCode.GATE_FAILED,
            Outcome.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
        }[self]


class Check(Record):
    """One budget held against one measured figure.

    `limit` and `measured` share `unit`; `interval` is the 95 % interval of `measured` where the
    figure is a timed one, and None where it is exact for these bytes and these images.
    """

    budget: str
    limit: float
    measured: float | None
    interval: tuple[float, float] | None
    unit: str
    outcome: Outcome
    explanation: str


class Verdict(Record):
    """All checks of one target; a target without budgets has passed, and says so."""

    target: str
    outcome: Outcome
    checks: list[Check]
