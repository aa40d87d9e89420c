"""What the build stage records; readable without any runtime."""

from __future__ import annotations

from tmkd_deploy.artifacts import Record
from tmkd_deploy.records.measurements import EngineFile


class EngineRecord(Record):
    """The engines built for one target.

    `kit` names the files of a build kit where the engine itself is yet to be built on the device;
    `device` the device that built them, None where that was this machine.
    """

    target: str
    runtime: str
    engines: list[EngineFile]
    kit: list[str]
    notes: list[str]
    device: str | None = None
