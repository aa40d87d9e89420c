"""export: one ONNX file, of one model in one precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.pipeline.model_params import model_params, named
from tmkd_deploy.pipeline.stage import Job, Ref, Stage, to_jsonable
from tmkd_deploy.pipeline.training_job import set_threads
from tmkd_deploy.records.onnx_model import OnnxRecord, Variant

if TYPE_CHECKING:
    from tmkd_deploy.models.classifier import Classifier


class Export(Stage[Variant]):
    """Runs once for each variant, however many targets share it."""

    name = "export"
    record_type = OnnxRecord

    def params(self) -> dict[str, Any]:
        """The variant and the models it may come from."""
        recipe = self.context.recipe
        return {
            "variant": self.subject.name,
            "export": to_jsonable(recipe.export),
            "teacher": named(recipe.teacher.visual.model),
            "student": model_params(recipe.student),
        }

    def inputs(self) -> dict[str, Ref]:
        if self.subject.model == "teacher":
            model = Ref("train_teacher")
        else:
            model = Ref("quantize" if self.subject.precision == "int8" else "distill")
        return {"data": Ref("prepare"), "model": model}

    def run(self, job: Job) -> OnnxRecord:
        from tmkd_deploy.export.export import export

        recipe, data = self.context.recipe, PreparedData.load(job.inputs["data"])
        set_threads(recipe)
        model = self._load(job, data)
        return export(recipe, data, model, self.subject, job.folder, self.context.events)

    def _load(self, job: Job, data: PreparedData) -> Classifier:
        from tmkd_deploy.distill.distill import Student
        from tmkd_deploy.distill.train_teacher import read_visual
        from tmkd_deploy.quantize.quantize import read_quantized

        recipe, model = self.context.recipe, job.inputs["model"]
        if self.subject.model == "teacher":
            return read_visual(model, recipe, data)
        if self.subject.precision == "int8":
            return read_quantized(model, recipe, data)
        return Student.load(model, recipe, data).classifier
