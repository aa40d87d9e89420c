"""report: the whole run, in every format."""

from __future__ import annotations

from typing import Any

from tmkd_deploy.artifacts import read_manifest
from tmkd_deploy.pipeline.stage import Job, Ref, Stage, to_jsonable
from tmkd_deploy.report.interface import StageTime
from tmkd_deploy.report.run_report import ReportRecord, write_report


class Report(Stage[None]):
    """Covers all targets of the run."""

    name = "report"
    record_type = ReportRecord

    def params(self) -> dict[str, Any]:
        """The whole recipe, which the report shows."""
        return {"recipe": to_jsonable(self.context.recipe), "note": self.context.note}

    def inputs(self) -> dict[str, Ref]:
        inputs = {
            "data": Ref("prepare"),
            "teacher": Ref("train_teacher"),
            "view_scores": Ref("score_views"),
            "student": Ref("distill"),
        }
        if self.context.recipe.quantize.enabled:
            inputs["quantized"] = Ref("quantize")
        for target in self.context.targets:
            inputs[f"gate {target.name}"] = Ref("gate", target)
            if not target.needs_kit:
                inputs[f"bundle {target.name}"] = Ref("bundle", target)
        return inputs

    def run(self, job: Job) -> ReportRecord:
        context = self.context
        targets = [target.name for target in context.targets]
        times = [
            StageTime(
                f"{result.stage} {result.target or ''}".rstrip(),
                read_manifest(result.folder).seconds,
                result.reused,
            )
            for result in context.results
        ]
        return write_report(context.recipe, job.inputs, targets, times, context.note, job.folder)
