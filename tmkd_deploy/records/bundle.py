"""What the bundle stage records."""

from __future__ import annotations

from tmkd_deploy.artifacts import Record
from tmkd_deploy.records.figures import AtLeastOne
from tmkd_deploy.records.types import Precision
from tmkd_deploy.records.verdict import Outcome


class BundleRecord(Record):
    """The bundle's file name within its artifact, its size and SHA-256, and what it contains."""

    file: str
    bytes: AtLeastOne
    sha256: str
    target: str
    precision: Precision
    gate: Outcome
