"""The interface of all image sources, and how their files are found."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from tmkd_deploy.data.split_names import Split
from tmkd_deploy.errors import DataError
from tmkd_deploy.runtime.image_limits import MAX_BYTES
from tmkd_deploy.runtime.regular_file import read_regular

if TYPE_CHECKING:  # records need pydantic; a bare training machine may lack it
    from tmkd_deploy.data.prepared import UnusedFiles

CORRECT_PATH = "Correct the path in the recipe's section 'data', or place the data there."


class EncodedImage(Protocol):
    """A reference to an encoded image; it holds no bytes and can be sent to another process."""

    def read(self) -> bytes:
        """The encoded bytes.

        Raises:
            OSError, DataError: the source itself cannot be read.
        """


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image in its own file."""

    path: str

    def read(self) -> bytes:
        """The content of the file."""
        return read_regular(Path(self.path), MAX_BYTES)


@dataclass(frozen=True)
class EncodedDataset:
    """Labelled, encoded images in an order that is the same on every machine.

    Reading `images` is fast in ascending order. Splits preserve the proportions of the strata
    within each class. `splits` and `groups` are empty where the source knows none; a group of ""
    is none. `unused` are the source's files that are no images of it.
    """

    origin: str
    class_names: list[str]
    keys: list[str]
    labels: list[int]
    strata: list[str]
    images: Sequence[EncodedImage]
    notes: list[str] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    unused: list[UnusedFiles] = field(default_factory=list)

    def read(self, index: int) -> bytes:
        """The encoded bytes of image `index`, 0 <= index < len(keys)."""
        return self.images[index].read()


@dataclass(frozen=True, slots=True)
class Sample:
    """One decoded image: its row among all images; `pixels` is the SHA-256 before resizing.

    `split` is the one that the source puts it in, `group` what must stay together; "" is none.
    """

    row: int
    key: str
    label: int
    stratum: str
    pixels: str
    group: str = ""
    split: Split | Literal[""] = ""


def numbered_class_names(labels: list[int]) -> list[str]:
    """Class names for unnamed classes: "0", "1", ..., one per distinct label."""
    return [str(number) for number in range(len(set(labels)))]


def find_files(path: Path, suffix: str) -> list[Path]:
    """The files that a path denotes, sorted: a file, a folder's `*suffix` files, or a glob.

    Of what a glob matches, only `*suffix` files count if there are any.

    Raises:
        DataError: there are none.
    """
    with reading(path):
        if path.is_dir():
            what = f"This folder contains no {suffix} files."
            found = [file for file in path.iterdir() if file.suffix.lower() == suffix]
        else:
            what = "This file does not exist."
            found = [path] if path.exists() else _glob(path)
            found = [file for file in found if file.suffix.lower() == suffix] or found
    if not found:
        raise DataError(what, where=str(path), advice=CORRECT_PATH)
    return sorted(found)


@contextlib.contextmanager
def reading(path: Path, subject: str = "This") -> Iterator[None]:
    """Turn an OSError while reading `path` into a DataError about `subject`."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{subject} cannot be read: {error.strerror or error}.",
            where=str(error.filename or path),
            advice="Check that the file exists and is readable, or remove it.",
        ) from error


def _glob(path: Path) -> list[Path]:
    for position, part in enumerate(path.parts):
        if any(sign in part for sign in "*?["):
            literal, pattern = Path(*path.parts[:position]), "/".join(path.parts[position:])
            with contextlib.suppress(ValueError):  # a pattern that pathlib rejects matches nothing
                return [file for file in literal.glob(pattern) if file.is_file()]
    return []
