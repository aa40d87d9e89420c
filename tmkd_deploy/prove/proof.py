"""The record of a proof, and its file pair: `<board>-<jetpack>.json`, and `.md` to read.

The seal is a SHA-256 over everything else in the record, as that of an artifact. It shows that a
file was not altered by accident. It carries no key and is no signature: anybody can make one.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from pydantic import NonNegativeFloat, ValidationError

from tmkd_deploy.artifacts import Record, write_text
from tmkd_deploy.bounded_json import parse_json
from tmkd_deploy.errors import ArtifactError
from tmkd_deploy.prove.outcome import Figure, Outcome
from tmkd_deploy.runtime.regular_file import open_regular

SCHEMA_VERSION = 1
_MOST_BYTES = 4 << 20


class ClaimProof(Record):
    """What became of one claim: `reason` is empty if it was shown."""

    id: str
    claim: str
    shown_by: str
    outcome: Outcome
    reason: str
    figures: dict[str, Figure]
    lines: list[str]
    seconds: NonNegativeFloat


class State(Record):
    """What a proof must leave as it was: the power mode, and the clocks' lock and governor."""

    power_mode: str | None
    clocks_locked: bool | None
    governor: str | None


class Board(Record):
    """The device and its software; None for what it does not have or tell."""

    name: str
    model: str | None
    modules: list[str]
    profile: str | None
    machine: str
    processor: str | None
    gpu: str | None
    jetpack: str | None
    l4t: str | None
    tensorrt: str | None
    onnxruntime: str | None
    cuda: str | None
    driver: str | None
    system: str | None
    kernel: str
    python: str


class Proof(Record):
    """A proof of one board; `commit` is that of a checkout, `agent_sha256` of what ran there.

    `after` is None if the device could not be asked at the end; `seconds` is the time on it.
    """

    schema_version: int
    board: Board
    package_version: str
    commit: str | None
    agent_sha256: str
    date: str
    command: str
    complete: bool
    seconds: NonNegativeFloat
    before: State
    after: State | None
    claims: list[ClaimProof]
    with_root: list[str]
    seal: str = ""

    @property
    def name(self) -> str:
        """The name of the file pair."""
        return f"{self.board.name}-{_slug(self.board.jetpack or 'none')}"

    @property
    def contradicted(self) -> bool:
        """Whether a claim was contradicted, or the device not left as it was."""
        changed = self.after is not None and self.after != self.before
        return changed or any(each.outcome == "contradicted" for each in self.claims)

    def expected_seal(self) -> str:
        """The seal of an unaltered proof."""
        return hashlib.sha256(self.model_dump_json(exclude={"seal"}).encode()).hexdigest()

    def sealed(self) -> Proof:
        """The proof with its seal."""
        return self.model_copy(update={"seal": self.expected_seal()})


def read(path: Path) -> Proof:
    """Read a proof and check its seal.

    Raises:
        ArtifactError: it is missing, altered, too large or no proof.
    """
    try:
        with open_regular(path, _MOST_BYTES, follow_link=False) as stream:
            proof = Proof.model_validate(parse_json(stream.read(_MOST_BYTES)))
    except (OSError, ValueError) as error:  # pydantic's among them
        known = "it is no proof" if isinstance(error, ValidationError) else str(error)
        raise _broken(path, known) from error
    if proof.schema_version != SCHEMA_VERSION:
        raise _broken(path, f"its schema version is {proof.schema_version}")
    if proof.seal != proof.expected_seal():
        raise _broken(path, "it was altered after it was written")
    return proof


def write(proof: Proof, folder: Path, text: str) -> Path:
    """Write a sealed proof, and `text` beside it; returns the JSON's path."""
    path = folder / f"{proof.name}.json"
    write_text(path, proof.model_dump_json(indent=1) + "\n")
    write_text(path.with_suffix(".md"), text)
    return path


def _slug(text: str) -> str:
    """`text` as a part of a file's name."""
    parts = (part.strip(".") for part in re.split(r"[^a-z0-9.]+", text.lower()))
    return "-".join(part for part in parts if part)[:60].strip(".-") or "unknown"


def board_name(model: str | None, machine: str, profile: str | None, emulated: bool) -> str:
    """A board's name for files: its profile, if it is of one board only, or what it is called."""
    if emulated:
        return _slug(f"emulated-{machine}")
    if profile is not None and not profile.startswith("cpu"):
        return profile
    return _slug(model or machine)


def _broken(path: Path, reason: str) -> ArtifactError:
    return ArtifactError(
        f"The proof cannot be used: {reason}.", where=str(path), advice="Make it again."
    )
