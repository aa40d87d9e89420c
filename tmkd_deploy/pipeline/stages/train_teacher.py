"""train_teacher: the visual teacher, fine-tuned on all views."""

from __future__ import annotations

from typing import Any

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.pipeline.model_params import model_params
from tmkd_deploy.pipeline.stage import Job, Ref, Stage, to_jsonable
from tmkd_deploy.pipeline.training_job import set_threads, trainer_config
from tmkd_deploy.pipeline.weak_teacher import stop_or_warn
from tmkd_deploy.records.distillation import TeacherRecord


class TrainTeacher(Stage[None]):
    """Also checks, before anything is trained, that the other models can be created."""

    name = "train_teacher"
    record_type = TeacherRecord
    distributed = True

    @property
    def hidden(self) -> bool:
        return self.context.recipe.model_is_given

    def params(self) -> dict[str, Any]:
        """Everything that shapes the teacher's training."""
        recipe = self.context.recipe
        if recipe.model_is_given:
            return {"student": model_params(recipe.student)}
        return {
            "seed": recipe.seed,
            "views": to_jsonable(recipe.views),
            "teacher": model_params(recipe.teacher.visual),
            "augment": recipe.distill.augment,
            "training": recipe.training.result_params(),
        }

    def inputs(self) -> dict[str, Ref]:
        return {"data": Ref("prepare")}

    def run(self, job: Job) -> TeacherRecord:
        from tmkd_deploy.distill.train_teacher import train_teacher

        recipe, data = self.context.recipe, PreparedData.load(job.inputs["data"])
        set_threads(recipe)
        self._create_other_models(data)
        config = trainer_config(self.context, self.name, job.fingerprint)
        return train_teacher(recipe, data, job.folder, self.context.events, config)

    def accept(self, record: TeacherRecord) -> None:
        """Stop at a teacher near chance, before the text teacher is trained."""
        stop_or_warn(self.context, record.weakness)

    def _create_other_models(self, data: PreparedData) -> None:
        """So that what cannot be used is reported before hours of training."""
        from tmkd_deploy.distill import text_teacher
        from tmkd_deploy.distill.new_models import new_student
        from tmkd_deploy.distill.text_embeddings import read_embeddings
        from tmkd_deploy.distill.train_teacher import warn_of_normalisation
        from tmkd_deploy.models import weights
        from tmkd_deploy.models.classifier import merge_branches
        from tmkd_deploy.quantize.insert import insert_quantizers
        from tmkd_deploy.recipe.check import check

        recipe = self.context.recipe
        check(recipe)
        student, _ = new_student(recipe, data)
        weights.initialise(student, recipe.student.model, recipe.student.weights)
        warn_of_normalisation("student", student, recipe.student.weights, data, self.context.events)
        if recipe.quantize.enabled:
            insert_quantizers(merge_branches(student), recipe.quantize.exclude_layers)
        text = recipe.teacher.text
        if recipe.model_is_given:
            return
        if text.embeddings:
            read_embeddings(text.embeddings, data.class_names)
        else:
            text_teacher.create(text, recipe.prompts, data.class_names)
