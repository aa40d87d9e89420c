"""report: the whole run, in every format."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from tmkd_deploy import artifacts
from tmkd_deploy.artifacts import Artifact, read_manifest
from tmkd_deploy.errors import ArtifactError
from tmkd_deploy.pipeline.stage import Job, Ref, Stage, to_jsonable
from tmkd_deploy.pipeline.teacher_inputs import student_inputs
from tmkd_deploy.printable import printable
from tmkd_deploy.records.bundle import BundleRecord
from tmkd_deploy.records.verdict import GateRecord
from tmkd_deploy.report.interface import StageTime
from tmkd_deploy.report.run_report import Earlier, ReportRecord, write_report


class Report(Stage[None]):
    """Covers all targets of the run."""

    name = "report"
    record_type = ReportRecord

    def params(self) -> dict[str, Any]:
        """The whole recipe, which the report shows, and the verdicts of earlier runs."""
        return {
            "recipe": to_jsonable(self.context.recipe),
            "note": self.context.note,
            "earlier": {
                each.gate.record.verdict.target: [
                    part.manifest.seal for part in (each.gate, each.bundle) if part
                ]
                for each in self._earlier
            },
        }

    def inputs(self) -> dict[str, Ref]:
        inputs = student_inputs(self.context.recipe)
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
            if not result.hidden
        ]
        return write_report(
            context.recipe,
            job.inputs,
            targets,
            times,
            context.note,
            job.folder,
            self._earlier,
        )

    @cached_property
    def _earlier(self) -> list[Earlier]:
        """The verdicts in the run folder on targets that this run does not judge.

        What cannot be read counts as absent: it is not this run's to repair.
        """
        judged = {target.name for target in self.context.targets}
        found = []
        for folder in sorted((self.context.folder / "gate").glob("[!.]*")):
            if folder.name in judged:
                continue
            try:
                gate = artifacts.read(folder, "gate", GateRecord)
            except ArtifactError:
                gate = None
            if gate is None or gate.record.verdict.target != folder.name:
                self.context.events.warn(
                    f"The verdict on {printable(folder.name)} cannot be read, so the report omits "
                    "it."
                )
                continue
            found.append(Earlier(gate, self._bundle_of(gate.record)))
        return found

    def _bundle_of(self, gate: GateRecord) -> Artifact[BundleRecord] | None:
        """The bundle that was made on this verdict, if there is one."""
        folder = self.context.folder / "bundle" / gate.verdict.target
        try:
            found = artifacts.read(folder, "bundle", BundleRecord)
        except ArtifactError:
            return None
        made_of = (found.record.gate, found.record.engine)
        return found if made_of == (gate.verdict.outcome, gate.would_ship) else None
