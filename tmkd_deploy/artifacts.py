"""Artifacts: folders with a manifest that says what made them and what is in them.

An artifact appears whole or not at all: it is written beside its place and renamed into it. Reading
one checks the size and SHA-256 of every file, so a truncated or edited artifact is never used.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tmkd_deploy import __version__
from tmkd_deploy.errors import ArtifactError

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1


class Record(BaseModel):
    """Base of what a stage records about its own result: frozen, closed, JSON-serializable."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(Record):
    """The size and hash of one file of an artifact."""

    sha256: str
    bytes: int


class Manifest(Record):
    """What `manifest.json` holds.

    `seconds` is how long the artifact took to make; `seal` is a SHA-256 over all the rest.
    """

    schema_version: int
    kind: str
    fingerprint: str
    tool_version: str
    created: str
    seconds: float
    inputs: dict[str, str]
    files: dict[str, FileEntry]
    record: dict[str, Any]
    seal: str = ""

    def expected_seal(self) -> str:
        """What `seal` is unless the manifest was altered."""
        rest = self.model_dump_json(exclude={"seal"})
        return hashlib.sha256(rest.encode()).hexdigest()


F = TypeVar("F", bound=Record)


@dataclass(frozen=True)
class Artifact(Generic[F]):
    """A verified artifact folder with the facts its stage recorded."""

    folder: Path
    manifest: Manifest
    record: F

    def path(self, name: str) -> Path:
        """The file `name` of this artifact; asking for one the manifest lacks is an error."""
        if name not in self.manifest.files:
            raise _broken(self.folder, f"it holds no file {name!r}")
        return self.folder / name


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


class Draft:
    """An artifact being written: put files into `folder`, then set `facts`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record: Record | None = None


@contextlib.contextmanager
def writing(
    destination: Path, *, kind: str, fingerprint: str, inputs: dict[str, str]
) -> Iterator[Draft]:
    """Write an artifact beside `destination` and move it there only when it is complete.

    An earlier artifact at `destination` stays untouched until then. Any exception, an interrupt
    included, removes the draft.
    """
    begun = time.monotonic()
    destination.parent.mkdir(parents=True, exist_ok=True)
    beside = draft_of(destination)
    try:
        # within `try`: an interrupt may come as soon as the folder is there
        beside.mkdir(mode=0o700)
        draft = Draft(beside)
        yield draft
        if draft.record is None:
            raise AssertionError(f"the stage that makes {kind!r} recorded no facts")
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            kind=kind,
            fingerprint=fingerprint,
            tool_version=__version__,
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - begun, 3),
            inputs=inputs,
            files=_entries(beside),
            record=draft.record.model_dump(mode="json"),
        )
        sealed = manifest.model_copy(update={"seal": manifest.expected_seal()})
        (beside / MANIFEST).write_text(sealed.model_dump_json(indent=1) + "\n")
        beside.chmod(0o755)
        _replace(beside, destination)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def read(folder: Path, kind: str, record_type: type[F]) -> Artifact[F]:
    """Read and verify the artifact at `folder`.

    Raises:
        ArtifactError: it is missing, of another kind or schema, truncated or altered.
    """
    manifest = read_manifest(folder)
    if manifest.kind != kind:
        raise _broken(folder, f"it is a {manifest.kind!r} artifact where {kind!r} is needed")
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != entry.bytes:
            raise _broken(folder, f"its file {name!r} is missing or truncated")
        if sha256_of(path) != entry.sha256:
            raise _broken(folder, f"its file {name!r} was altered after it was written")
    try:
        record = record_type.model_validate(manifest.record)
    except ValidationError as error:
        raise _broken(folder, "its facts do not fit this version of tmkd-deploy") from error
    return Artifact(folder=folder, manifest=manifest, record=record)


def read_manifest(folder: Path) -> Manifest:
    """Read `folder`'s manifest alone; the files it lists are not opened."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_text())
    except FileNotFoundError as error:
        raise _broken(folder, "it has no manifest") from error
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _broken(folder, "its manifest cannot be read") from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise _broken(folder, f"its schema version is {manifest.schema_version}")
    if manifest.seal != manifest.expected_seal():
        raise _broken(folder, "its manifest was altered after it was written")
    return manifest


def is_fresh(folder: Path, fingerprint: str) -> bool:
    """Whether `folder` holds a complete artifact made from exactly these inputs."""
    try:
        manifest = read_manifest(folder)
    except ArtifactError:
        return False
    return manifest.fingerprint == fingerprint


def sweep_drafts(parent: Path) -> None:
    """Remove what a killed process left behind; call it only while holding the run's lock."""
    for leftover in parent.glob(".*-draft-*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def draft_of(destination: Path) -> Path:
    """A name beside `destination` that nobody has, and that `sweep_drafts` knows."""
    return destination.with_name(f".{destination.name}-draft-{secrets.token_hex(8)}")


def write_text(path: Path, text: str) -> None:
    """Write `text` beside `path`, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = draft_of(path)
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _entries(folder: Path) -> dict[str, FileEntry]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): FileEntry(
            sha256=sha256_of(path), bytes=path.stat().st_size
        )
        for path in files
    }


def _replace(beside: Path, destination: Path) -> None:
    """Put `beside` in place; an interrupt leaves the old artifact or the new one, and no other."""
    retired = draft_of(destination)
    try:
        if destination.exists():
            destination.replace(retired)
        beside.replace(destination)
    finally:
        if retired.exists() and not destination.exists():
            retired.replace(destination)
        shutil.rmtree(retired, ignore_errors=True)


def _broken(folder: Path, what: str) -> ArtifactError:
    return ArtifactError(
        f"The artifact cannot be used: {what}.",
        where=str(folder),
        advice="Delete this folder and run the command again; the stage will be redone.",
    )
