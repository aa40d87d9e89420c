"""Why an engine whose logits are not finite has no figures, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

from tmkd_deploy.errors import DataError
from tmkd_deploy.records.logits import LogitsError
from tmkd_deploy.records.measurements import Unusable
from tmkd_deploy.records.types import FloatPrecision, Precision


def unusable(
    error: LogitsError, target: str, precision: Precision, computes_in: FloatPrecision
) -> Unusable:
    """The record of an engine whose logits were refused.

    Args:
        error: the refusal.
        target: the engine's target.
        precision: of the engine.
        computes_in: the type of everything in it that is not quantized.
    """
    reason = error.problem
    if error.first_image is not None and computes_in == "fp16":
        others = "FP32 or INT8" if precision == "fp16" else "FP32"
        reason += (
            " The student's own logits are finite, so activations exceed 65,504, FP16's largest "
            f"finite value. Ship {others}, or choose a student with smaller activations; "
            f"`tmkd-deploy explain RUN --target {target} --precision {precision}` names the first "
            "layer that exceeds it."
        )
    return Unusable(reason=reason, first_image=error.first_image)


def none_usable(target: str, engines: Mapping[str, Unusable]) -> DataError:
    """The error that ends a target of which no engine that may be judged is left."""
    reasons = " ".join(each.reason for each in engines.values())
    return DataError(
        f"No engine for {target} can be judged or ship. {reasons}",
        where=f"target {target}",
        advice="Repair the model, and export it again with: tmkd-deploy export --force",
    )
