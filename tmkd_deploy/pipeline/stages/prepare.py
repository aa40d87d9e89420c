"""prepare: the images of all splits, decoded and checked."""

from __future__ import annotations

from typing import Any

from tmkd_deploy.data.prepare import prepare
from tmkd_deploy.data.prepared import DataRecord
from tmkd_deploy.data.sources import source_fingerprint
from tmkd_deploy.pipeline.stage import Job, Ref, Stage, to_jsonable


class Prepare(Stage[None]):
    """Depends on the source files by name, size and time of change."""

    name = "prepare"
    record_type = DataRecord

    def params(self) -> dict[str, Any]:
        """The data section; how many workers decode changes nothing in the result."""
        data = self.context.recipe.data
        return {**to_jsonable(data), "workers": None, "files": source_fingerprint(data)}

    def inputs(self) -> dict[str, Ref]:
        return {}

    def run(self, job: Job) -> DataRecord:
        return prepare(self.context.recipe.data, job.folder, self.context.events)
