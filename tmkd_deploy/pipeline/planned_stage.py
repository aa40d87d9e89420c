"""One stage of a run that has not begun, and how long the rest of the run will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tmkd_deploy.report.formatting import duration

# a shorter run is over before anyone asks how long it takes
_WORTH_SAYING_SECONDS = 30.0


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a run, in its order.

    `runs` is False if its artifact is up to date. `seconds` is the expected duration: for trainings
    from timed steps, otherwise that of the last time; None where nothing is known.
    """

    stage: str
    target: str | None
    runs: bool
    seconds: float | None


def remaining(stages: Sequence[PlannedStage], stage: str, target: str | None) -> str:
    """How long a stage and what follows it will take, in brackets; "" for short runs."""
    names = [(each.stage, each.target) for each in stages]
    if (stage, target) not in names:
        return ""
    later = [each.seconds for each in stages[names.index((stage, target)) :]]
    here = later[0]
    if sum(each.seconds or 0 for each in stages) < _WORTH_SAYING_SECONDS or here is None:
        return ""
    left = duration(sum(each or 0 for each in later))
    at_least = "at least " if None in later else ""
    return f" (about {duration(here)}; {at_least}{left} left)"
