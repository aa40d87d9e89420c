"""Whether a run goes on with a teacher that is not worth learning from."""

from __future__ import annotations

from tmkd_deploy.errors import WeakTeacher
from tmkd_deploy.pipeline.run_context import RunContext


def stop_or_warn(context: RunContext, weakness: str | None) -> None:
    """Do as the recipe says about a teacher with this `weakness`, if it has one.

    Raises:
        WeakTeacher: the recipe stops the run.
    """
    if weakness is None:
        return
    if context.recipe.distill.weak_teacher == "warn":
        context.events.warn(weakness)
        return
    raise WeakTeacher(
        weakness,
        where="teacher.visual",
        advice="Give the teacher better weights (teacher.visual.weights) or more epochs "
        "(teacher.visual.epochs). To go on with this one, set distill.weak_teacher to warn; what "
        "has been trained is kept.",
    )
