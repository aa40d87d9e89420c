"""score_views: the text teacher's score of every view of every image."""

from __future__ import annotations

from typing import Any

from tmkd_deploy.artifacts import sha256_of
from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.pipeline.stage import Job, Ref, Stage, to_jsonable
from tmkd_deploy.pipeline.training_job import set_threads, trainer_config
from tmkd_deploy.records.distillation import TextTeacherRecord
from tmkd_deploy.records.types import VIEWS


class ScoreViews(Stage[None]):
    """Depends on the visual teacher only where that embeds the images for precomputed text."""

    name = "score_views"
    record_type = TextTeacherRecord
    distributed = True

    def params(self) -> dict[str, Any]:
        """Files count by content, prompts by wording, the seed only where it is used."""
        recipe = self.context.recipe
        text = recipe.teacher.text
        params: dict[str, Any] = {"views": to_jsonable(recipe.views), "text": to_jsonable(text)}
        for key, path in (("checkpoint", text.checkpoint), ("embeddings", text.embeddings)):
            params["text"][key] = sha256_of(path) if path and path.is_file() else None
        if not text.embeddings:
            params["prompts"] = {view: getattr(recipe.prompts, view) for view in VIEWS}
        if text.epochs:
            params["seed"], params["training"] = recipe.seed, recipe.training.result_params()
        return params

    def inputs(self) -> dict[str, Ref]:
        inputs = {"data": Ref("prepare")}
        if self.context.recipe.teacher.text.embeddings:
            inputs["teacher"] = Ref("train_teacher")
        return inputs

    def run(self, job: Job) -> TextTeacherRecord:
        from tmkd_deploy.distill.score_views import score_views
        from tmkd_deploy.distill.train_teacher import read_visual
        from tmkd_deploy.recipe.check import check

        recipe, data = self.context.recipe, PreparedData.load(job.inputs["data"])
        check(recipe)
        set_threads(recipe)
        teacher = job.inputs.get("teacher")
        visual = read_visual(teacher, recipe, data) if teacher else None
        config = trainer_config(self.context, self.name, job.fingerprint)
        return score_views(recipe, data, visual, job.folder, self.context.events, config)
