"""What the build stage records; readable without any runtime."""

from __future__ import annotations

from tmkd_deploy.artifacts import Record
from tmkd_deploy.records.measurements import EngineFile
from tmkd_deploy.records.types import RuntimeName


class EngineRecord(Record):
    """The engines built for one target.

    `kit` lists the files of a build kit if the engines are still to be built on the device;
    `device` is the device that built them, None for this machine.
    """

    target: str
    runtime: RuntimeName
    engines: list[EngineFile]
    kit: list[str]
    notes: list[str]
    device: str | None = None
