"""The numbers that records hold: finite (see `artifacts.Record`) and within their range."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

Share = Annotated[float, Field(ge=0, le=1)]
Change = Annotated[float, Field(ge=-1, le=1)]  # of a share
Points = Annotated[float, Field(ge=-100, le=100)]  # a change in percentage points
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Celsius = Annotated[float, Field(ge=-273.15)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]


def _ordered(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] > interval[1]:
        raise ValueError("an interval must end where it begins or above")
    return interval


Interval = Annotated[tuple[float, float], AfterValidator(_ordered)]
PositiveInterval = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]


def require_ascending(what: str, *values: float) -> None:
    """Refuse values that are not in ascending order; `what` names them.

    Raises:
        ValueError: a value is below the one before it.
    """
    if sorted(values) != list(values):
        raise ValueError(f"{what} must ascend, and are {', '.join(f'{each:g}' for each in values)}")
