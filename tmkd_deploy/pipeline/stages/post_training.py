"""post_training: the student quantized in other ways, to compare with."""

from __future__ import annotations

from typing import Any

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.pipeline.model_params import model_params
from tmkd_deploy.pipeline.package_version import version_of
from tmkd_deploy.pipeline.stage import Job, Ref, Stage, to_jsonable
from tmkd_deploy.pipeline.training_job import set_threads
from tmkd_deploy.records.onnx_model import MODEL, ComparedRecord, Variant
from tmkd_deploy.runtime.onnxruntime_session import precise_int8_default


class PostTraining(Stage[None]):
    """What it makes is measured beside the engines of ONNX Runtime and never ships."""

    name = "post_training"
    record_type = ComparedRecord

    def params(self) -> dict[str, Any]:
        """How the student is quantized, and by which versions of which packages."""
        recipe = self.context.recipe
        return {
            "seed": recipe.seed,
            "student": model_params(recipe.student),
            "quantize": to_jsonable(recipe.quantize),
            "export": to_jsonable(recipe.export),
            "versions": [version_of("onnxruntime"), version_of("nvidia-modelopt")],
            "precise": precise_int8_default(),
        }

    def inputs(self) -> dict[str, Ref]:
        return {
            "data": Ref("prepare"),
            "student": Ref("distill"),
            "fp32": Ref("export", Variant("student", "fp32")),
        }

    def run(self, job: Job) -> ComparedRecord:
        from tmkd_deploy.distill.distill import Student
        from tmkd_deploy.export.post_training import compare_post_training

        recipe, data = self.context.recipe, PreparedData.load(job.inputs["data"])
        set_threads(recipe)
        return compare_post_training(
            recipe,
            data,
            Student.load(job.inputs["student"], recipe, data),
            job.inputs["fp32"].path(MODEL),
            job.folder,
            self.context.events,
        )
