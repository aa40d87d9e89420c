"""quantize: the student, fine-tuned through fake quantizers."""

from __future__ import annotations

from typing import Any

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.pipeline.stage import Job, Ref, Stage, to_jsonable
from tmkd_deploy.pipeline.stages.distill import student_params
from tmkd_deploy.pipeline.teacher_inputs import student_inputs
from tmkd_deploy.pipeline.training_job import set_threads, trainer_config
from tmkd_deploy.records.quantization import QuantizationRecord


class Quantize(Stage[None]):
    """Fine-tunes under the quantization scheme of the recipe's first target."""

    name = "quantize"
    record_type = QuantizationRecord
    distributed = True

    def params(self) -> dict[str, Any]:
        """The student's own, and the quantize section without what only compares or searches."""
        recipe = self.context.recipe
        section = {
            **to_jsonable(recipe.quantize),
            "compare": None,
            "mixed_precision_trials": None,
        }
        return {
            **student_params(recipe),
            "quantize": section,
            "quant_scheme": self.context.quant_scheme.value,
        }

    def inputs(self) -> dict[str, Ref]:
        return student_inputs(self.context.recipe)

    def run(self, job: Job) -> QuantizationRecord:
        from tmkd_deploy.distill.distill import Student
        from tmkd_deploy.distill.train_teacher import Teachers
        from tmkd_deploy.quantize.quantize import quantize

        recipe, data = self.context.recipe, PreparedData.load(job.inputs["data"])
        set_threads(recipe)
        return quantize(
            recipe,
            data,
            Teachers.load(job.inputs["teacher"], job.inputs.get("view_scores"), recipe, data),
            Student.load(job.inputs["student"], recipe, data),
            self.context.quant_scheme,
            job.folder,
            self.context.events,
            trainer_config(self.context, self.name, job.fingerprint),
        )
