"""What the bundle stage records."""

from __future__ import annotations

from pydantic import model_validator

from tmkd_deploy.artifacts import Record
from tmkd_deploy.records.engine_names import engine_name
from tmkd_deploy.records.figures import AtLeastOne
from tmkd_deploy.records.types import Precision, RuntimeName
from tmkd_deploy.records.verdict import Outcome


class BundleRecord(Record):
    """The bundle's file name within its artifact, its size and SHA-256, and what it contains.

    Where the gate failed there is no file, and `withheld` says in sentences what would have
    shipped and how to insist. `runtime` is that of the engine if it is not the target's own.
    """

    target: str
    precision: Precision
    runtime: RuntimeName | None = None
    gate: Outcome
    file: str | None = None
    bytes: AtLeastOne | None = None
    sha256: str | None = None
    withheld: str | None = None

    @property
    def engine(self) -> str:
        """The name of the engine that it contains."""
        return engine_name(self.precision, self.runtime)

    @model_validator(mode="after")
    def _either_a_file_or_a_reason(self) -> BundleRecord:
        described = (self.file, self.bytes, self.sha256)
        if any((each is None) is not bool(self.withheld) for each in described):
            raise ValueError("a bundle has a file, its size and its hash, or a reason for none")
        return self
