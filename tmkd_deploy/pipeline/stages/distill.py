"""distill: the distilled student, and the baseline trained without teachers."""

from __future__ import annotations

from typing import Any

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.pipeline.model_params import model_params
from tmkd_deploy.pipeline.stage import Job, Ref, Stage, to_jsonable
from tmkd_deploy.pipeline.teacher_inputs import teacher_inputs
from tmkd_deploy.pipeline.training_job import set_threads, trainer_config
from tmkd_deploy.pipeline.weak_teacher import stop_or_warn
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.distillation import StudentRecord


class Distill(Stage[None]):
    """Trains the student on the outputs of both teachers."""

    name = "distill"
    record_type = StudentRecord
    distributed = True

    @property
    def hidden(self) -> bool:
        return self.context.recipe.model_is_given

    def params(self) -> dict[str, Any]:
        """Everything that shapes the student's training, except its teachers."""
        return student_params(self.context.recipe)

    def inputs(self) -> dict[str, Ref]:
        return teacher_inputs(self.context.recipe)

    def run(self, job: Job) -> StudentRecord:
        from tmkd_deploy.distill.distill import distill, hand_on
        from tmkd_deploy.distill.train_teacher import Teachers
        from tmkd_deploy.recipe.check import check

        recipe, data = self.context.recipe, PreparedData.load(job.inputs["data"])
        check(recipe)
        set_threads(recipe)
        if recipe.model_is_given:
            return hand_on(recipe, data, job.inputs["teacher"], job.folder)
        teachers = Teachers.load(job.inputs["teacher"], job.inputs["view_scores"], recipe, data)
        config = trainer_config(self.context, self.name, job.fingerprint)
        return distill(recipe, data, teachers, job.folder, self.context.events, config)

    def accept(self, record: StudentRecord) -> None:
        """Stop at a teacher that is worse than the student trained without it."""
        stop_or_warn(self.context, record.weak_teacher)


def student_params(recipe: Recipe) -> dict[str, Any]:
    """What of the recipe a distilled student depends on, except what its teachers depend on."""
    return {
        "seed": recipe.seed,
        "views": to_jsonable(recipe.views),
        "student": model_params(recipe.student),
        "distill": {**to_jsonable(recipe.distill), "weak_teacher": None},
        "training": recipe.training.result_params(),
    }
