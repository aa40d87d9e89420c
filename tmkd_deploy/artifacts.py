"""Artifacts: folders with a manifest of their origin and contents.

Artifacts are written atomically, in a temporary folder that is then renamed. Reading verifies the
size and SHA-256 of every file, of large ones once, so a truncated or altered artifact is not used.
Seals carry no key: whoever made a run folder can seal anything, so reading also stays within the
artifact's folder and within bounds.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from tmkd_deploy import __version__
from tmkd_deploy.artifact_files import VerifiedFiles, is_inside, sha256
from tmkd_deploy.bounded_json import parse_json
from tmkd_deploy.errors import ArtifactError, DataError
from tmkd_deploy.runtime.regular_file import open_regular

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
MANIFEST_BYTES_AT_MOST = 32 << 20
_DRAFTS = ".*-draft-*"


class Record(BaseModel):
    """Base of the records of stages: immutable, without extra fields, JSON-serializable.

    Every number is finite, because JSON has no others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileEntry(Record):
    """The size and hash of an artifact's file."""

    sha256: str
    bytes: NonNegativeInt


class Manifest(Record):
    """The contents of `manifest.json`.

    `seconds` is the time it took to create the artifact, `seal` the SHA-256 of all other fields.
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
        """The seal of an unaltered manifest."""
        rest = self.model_dump_json(exclude={"seal"})
        return hashlib.sha256(rest.encode()).hexdigest()


F = TypeVar("F", bound=Record)


@dataclass(frozen=True)
class Artifact(Generic[F]):
    """A verified artifact folder with its stage's record."""

    folder: Path
    manifest: Manifest
    record: F

    def path(self, name: str) -> Path:
        """The path of a file that the manifest lists; any other name is an error."""
        if name not in self.manifest.files:
            raise _broken(self.folder, f"it has no file {name!r}")
        return self.folder / name


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as stream:
        return sha256(stream)


class Draft:
    """An artifact being written: add files to `folder`, then set `record`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record: Record | None = None


@contextlib.contextmanager
def writing(
    destination: Path, *, kind: str, fingerprint: str, inputs: dict[str, str]
) -> Iterator[Draft]:
    """Write an artifact next to `destination` and move it there once it is complete.

    Until then, a previous artifact at `destination` stays untouched. Any exception, including an
    interrupt, removes the draft.

    Raises:
        DataError: the record holds, or was to hold, a value that its type does not allow.
    """
    started = time.monotonic()
    destination.parent.mkdir(parents=True, exist_ok=True)
    draft_folder = draft_of(destination)
    try:
        # within `try`, because an interrupt may come as soon as the folder exists
        draft_folder.mkdir(mode=0o700)
        draft = Draft(draft_folder)
        yield draft
        if draft.record is None:
            raise AssertionError(f"the stage that creates {kind!r} set no record")
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            kind=kind,
            fingerprint=fingerprint,
            tool_version=__version__,
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - started, 3),
            inputs=inputs,
            files=_entries(draft_folder),
            record=draft.record.model_dump(mode="json"),
        )
        sealed = manifest.model_copy(update={"seal": manifest.expected_seal()})
        text = sealed.model_dump_json(indent=1) + "\n"
        # what cannot be read back must not be published
        type(draft.record).model_validate(Manifest.model_validate_json(text).record)
        (draft_folder / MANIFEST).write_text(text)
        draft_folder.chmod(0o755)
        _replace(draft_folder, destination)
    except ValidationError as error:
        raise _unrecordable(kind, error) from error
    finally:
        shutil.rmtree(draft_folder, ignore_errors=True)


def read(folder: Path, kind: str, record_type: type[F]) -> Artifact[F]:
    """Read and verify the artifact at `folder`.

    Raises:
        ArtifactError: it is missing, truncated, altered, of another kind or schema, or holds links.
    """
    manifest = read_manifest(folder)
    if manifest.kind != kind:
        raise _broken(folder, f"it is a {manifest.kind!r} artifact, but {kind!r} is required")
    files = VerifiedFiles(folder)
    for name, entry in manifest.files.items():
        if problem := files.difference(name, entry.bytes, entry.sha256):
            raise _broken(folder, f"its file {name!r} {problem}")
    files.save()
    try:
        record = record_type.model_validate(manifest.record)
    except ValidationError as error:
        raise _broken(folder, "its record does not match this version of tmkd-deploy") from error
    return Artifact(folder=folder, manifest=manifest, record=record)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an artifact without verifying its files."""
    if folder.is_symlink():
        raise _broken(folder, "it is a link")
    try:
        with open_regular(folder / MANIFEST, MANIFEST_BYTES_AT_MOST, follow_link=False) as stream:
            manifest = Manifest.model_validate(parse_json(stream.read(MANIFEST_BYTES_AT_MOST)))
    except FileNotFoundError as error:
        raise _broken(folder, "it has no manifest") from error
    except OSError as error:
        raise _broken(folder, f"its manifest cannot be read: {error.strerror}") from error
    except ValueError as error:  # pydantic's among them
        raise _broken(folder, "its manifest cannot be read") from error
    for name in manifest.files:
        if name == MANIFEST or not is_inside(name):
            raise _broken(folder, f"its manifest names {name!r}, which is not a path within it")
    if manifest.schema_version != SCHEMA_VERSION:
        raise _broken(folder, f"its schema version is {manifest.schema_version}")
    if manifest.seal != manifest.expected_seal():
        raise _broken(folder, "its manifest was altered after it was written")
    return manifest


def is_fresh(folder: Path, fingerprint: str) -> bool:
    """Whether `folder` is a complete artifact with this fingerprint."""
    try:
        manifest = read_manifest(folder)
    except ArtifactError:
        return False
    return manifest.fingerprint == fingerprint


def sweep_drafts(run_folder: Path) -> None:
    """Remove the drafts of killed processes; the caller must hold the run's lock.

    Raises:
        ArtifactError: a folder in the run folder is a link, so what it holds is not the run's.
    """
    folders = [
        path for path in sorted(run_folder.iterdir()) if path.is_dir() and not path.match(_DRAFTS)
    ]
    for folder in folders:
        if folder.is_symlink():
            raise ArtifactError(
                "This folder of the run is a link, and nothing is written or removed behind it.",
                where=str(folder),
                advice="Remove the link, then run the command again.",
            )
    for place in (run_folder, *folders):
        for leftover in place.glob(_DRAFTS):
            _remove(leftover)


def draft_of(destination: Path) -> Path:
    """A unique temporary path next to `destination`, which `sweep_drafts` recognizes."""
    return destination.with_name(f".{destination.name}-draft-{secrets.token_hex(8)}")


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(path)
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _entries(folder: Path) -> dict[str, FileEntry]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        if path.is_symlink() or not is_inside(path.relative_to(folder).as_posix()):
            raise AssertionError(f"an artifact cannot hold {path.name!r}")
    return {
        path.relative_to(folder).as_posix(): FileEntry(
            sha256=sha256_of(path), bytes=path.stat().st_size
        )
        for path in files
    }


def _replace(draft_folder: Path, destination: Path) -> None:
    """Move the draft into place; an interrupt leaves either the old or the new artifact."""
    retired = draft_of(destination)
    try:
        if os.path.lexists(destination):
            destination.replace(retired)
        draft_folder.replace(destination)
    finally:
        if retired.exists() and not destination.exists():
            retired.replace(destination)
        _remove(retired)


def _remove(path: Path) -> None:
    """Remove a folder, or anything else, but nothing that a link leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _unrecordable(kind: str, error: ValidationError) -> DataError:
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, (error.title, *first["loc"])))
    return DataError(
        f"The stage {kind!r} arrived at a value that cannot be right: {first['msg']}.",
        where=place,
        advice="Nothing was written. Run the command again; if this recurs, report it.",
    )


def _broken(folder: Path, reason: str) -> ArtifactError:
    return ArtifactError(
        f"The artifact cannot be used: {reason}.",
        where=str(folder),
        advice="Delete this folder and run the command again, which repeats the stage.",
    )
