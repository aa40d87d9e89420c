"""gate: which engine of a target ships, and whether it keeps the budgets."""

from __future__ import annotations

from typing import Any

from tmkd_deploy.gate.gate import gate
from tmkd_deploy.pipeline.resolved_target import ResolvedTarget
from tmkd_deploy.pipeline.stage import Job, Ref, Stage, to_jsonable
from tmkd_deploy.records.verdict import GateRecord


class Gate(Stage[ResolvedTarget]):
    """Reads the measurements and nothing else."""

    name = "gate"
    record_type = GateRecord

    def params(self) -> dict[str, Any]:
        """The budgets, the precisions that may ship, and what decides among them."""
        target = self.subject
        return {
            "budgets": to_jsonable(target.budgets),
            "precisions": target.precisions,
            "prefer": target.prefer,
        }

    def inputs(self) -> dict[str, Ref]:
        return {"measured": Ref("measure", self.subject)}

    def run(self, job: Job) -> GateRecord:
        target, measured = self.subject, job.inputs["measured"].record
        may_ship = [
            engine.name
            for precision in target.precisions
            for engine in measured.engines
            if engine.precision == precision
        ]
        return gate(target.budgets, measured, may_ship, target.prefer)
