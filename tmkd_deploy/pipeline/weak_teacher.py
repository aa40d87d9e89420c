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
    if context.recipe.model_is_given:
        raise WeakTeacher(
            weakness,
            where="student.weights",
            advice="Check that the classes are in the order in which the model was trained "
            "(data.class_names; by default the order of the folders' names), that data.mean and "
            "data.std are those it was trained with, and that it expects red, green and blue in "
            "this order. To go on with it as it is, set distill.weak_teacher to warn.",
        )
    raise WeakTeacher(
        weakness,
        where="teacher.visual",
        advice="Give the teacher better weights (teacher.visual.weights) or more epochs "
        "(teacher.visual.epochs). To go on with this one, set distill.weak_teacher to warn; what "
        "has been trained is kept.",
    )
