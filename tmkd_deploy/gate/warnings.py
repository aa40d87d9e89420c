"""What a verdict must say beside its budgets."""

from __future__ import annotations

from tmkd_deploy.records.engine_names import engine_title
from tmkd_deploy.records.measurements import Measurements


def warnings(measurements: Measurements, engine: str) -> list[str]:
    """What training left wrong, engines without figures, and an engine that never varies."""
    found = [*measurements.concerns]
    found += [f"Not judged: {each.reason}" for each in measurements.unusable.values()]
    confusion = measurements.engine_confusion(engine)
    answered = [label for label, column in enumerate(zip(*confusion, strict=True)) if any(column)]
    if len(answered) == 1 and sum(map(any, confusion)) > 1:
        found.append(
            f"The {engine_title(engine)} engine answers class "
            f"{measurements.class_names[answered[0]]} for every image of the test split."
        )
    return found
