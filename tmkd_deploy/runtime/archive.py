"""Read a bundle as untrusted input.

A bundle is a zip file whose members are stored uncompressed, so no member can be larger than the
file, and nothing is unpacked to disk.
"""

from __future__ import annotations

import hashlib
import stat
import struct
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from tmkd_deploy.runtime.bundle_errors import BundleError
from tmkd_deploy.runtime.manifest import MANIFEST, MEMBER_NAME, Manifest, parse
from tmkd_deploy.runtime.manifest_fields import UnfitError
from tmkd_deploy.runtime.regular_file import UnsuitableFileError, read_regular

MAXIMUM_BYTES = 2 << 30
MAXIMUM_MANIFEST_BYTES = 4 << 20
_ENCRYPTED = 0x1
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    struct.error,
)


@dataclass(frozen=True)
class Contents:
    """A bundle whose contents match its manifest.

    Attributes:
        path: the bundle's file.
        size: of the file in bytes.
        sha256: of the file.
        manifest: the checked manifest.
        members: the contents of all members except the manifest, by name.
    """

    path: Path
    size: int
    sha256: str
    manifest: Manifest
    members: dict[str, bytes]


def read_archive(path: Path) -> Contents:
    """Read a bundle and check the names, sizes and hashes of all its members.

    Raises:
        BundleError: the bundle is missing, truncated, altered, of another format, or unsafe.
    """
    raw = _read_file(path)
    try:
        with zipfile.ZipFile(BytesIO(raw)) as archive:
            entries = _safe_entries(archive, len(raw))
            if MANIFEST not in entries:
                raise UnfitError("it has no manifest.json")
            if entries[MANIFEST].file_size > MAXIMUM_MANIFEST_BYTES:
                raise UnfitError("its manifest is too large")
            manifest = parse(archive.read(entries.pop(MANIFEST)))
            _agree(manifest, entries)
            members = {name: archive.read(entry) for name, entry in entries.items()}
    except UnfitError as error:
        raise broken(path, str(error)) from error
    except _ZIP_ERRORS as error:
        raise broken(path, "it is not a complete zip file") from error
    except MemoryError as error:
        raise broken(path, "it does not fit into this machine's memory") from error
    for name, content in members.items():
        if hashlib.sha256(content).hexdigest() != manifest.files[name].sha256:
            raise broken(path, f"its file {name!r} was altered after the bundle was made")
    return Contents(
        path=path,
        size=len(raw),
        sha256=hashlib.sha256(raw).hexdigest(),
        manifest=manifest,
        members=members,
    )


def broken(path: Path, what: str) -> BundleError:
    """The error for an unusable bundle; `what` completes "The bundle cannot be used: ..."."""
    return BundleError(
        f"The bundle cannot be used: {what}.",
        where=str(path),
        advice="Copy it again from its origin and compare the SHA-256 of both copies, or create it "
        "again.",
    )


def _read_file(path: Path) -> bytes:
    try:
        return read_regular(path, MAXIMUM_BYTES)
    except UnsuitableFileError as error:
        raise broken(path, str(error)) from error
    except OSError as error:
        raise BundleError(
            f"The bundle cannot be read: {error.strerror or error}.",
            where=str(path),
            advice="Pass the path of a readable `.tmkd` file.",
        ) from error


def _safe_entries(archive: zipfile.ZipFile, archive_bytes: int) -> dict[str, zipfile.ZipInfo]:
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name = entry.filename
        if MEMBER_NAME.fullmatch(name) is None:
            raise UnfitError(f"its member {name!r} does not have a plain file name")
        if name in entries:
            raise UnfitError(f"it contains {name!r} twice")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            raise UnfitError(f"its member {name!r} is not a regular file")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED:
            raise UnfitError(f"its member {name!r} is compressed or encrypted")
        entries[name] = entry
    # overlapping members would let a small file expand to a large one
    if sum(entry.file_size for entry in entries.values()) > archive_bytes:
        raise UnfitError("its members claim more bytes than it has")
    return entries


def _agree(manifest: Manifest, entries: dict[str, zipfile.ZipInfo]) -> None:
    undeclared = sorted(set(entries) - set(manifest.files))
    if undeclared:
        raise UnfitError(f"its manifest does not declare its member {undeclared[0]!r}")
    for name, declared in manifest.files.items():
        if name not in entries or entries[name].file_size != declared.bytes:
            raise UnfitError(f"its file {name!r} is missing or truncated")
