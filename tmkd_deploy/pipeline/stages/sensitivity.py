"""sensitivity: what quantizing each layer costs."""

from __future__ import annotations

from typing import Any

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.pipeline.model_params import model_params, named
from tmkd_deploy.pipeline.stage import Job, Ref, Stage, to_jsonable
from tmkd_deploy.pipeline.training_job import set_threads
from tmkd_deploy.records.quantization import SensitivityRecord


class Sensitivity(Stage[None]):
    """Ranks the layers under the quantization scheme of the recipe's first target."""

    name = "sensitivity"
    record_type = SensitivityRecord

    def params(self) -> dict[str, Any]:
        """The models and how they are calibrated."""
        recipe = self.context.recipe
        return {
            "seed": recipe.seed,
            "teacher": named(recipe.teacher.visual.model),
            "student": model_params(recipe.student),
            "calibration": to_jsonable(recipe.quantize.calibration),
            "exclude_layers": recipe.quantize.exclude_layers,
            "quant_scheme": self.context.quant_scheme.value,
        }

    def inputs(self) -> dict[str, Ref]:
        return {
            "data": Ref("prepare"),
            "teacher": Ref("train_teacher"),
            "student": Ref("distill"),
        }

    def run(self, job: Job) -> SensitivityRecord:
        from tmkd_deploy.distill.distill import Student
        from tmkd_deploy.distill.train_teacher import read_visual
        from tmkd_deploy.quantize.sensitivity import rank_layers

        recipe, data = self.context.recipe, PreparedData.load(job.inputs["data"])
        set_threads(recipe)
        return rank_layers(
            recipe,
            data,
            read_visual(job.inputs["teacher"], recipe, data),
            Student.load(job.inputs["student"], recipe, data),
            self.context.quant_scheme,
            self.context.events,
        )
