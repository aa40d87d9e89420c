"""What every source of images offers, and the finding of its files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tmkd_deploy.errors import DataError

CORRECT_PATH = "Correct the path in the recipe's section 'data', or put the data there."


class Encoded(Protocol):
    """Where an encoded image is; it holds none of its bytes and can be sent to a process."""

    def read(self) -> bytes:
        """The encoded bytes; OSError or DataError where the source itself fails."""


@dataclass(frozen=True, slots=True)
class File:
    """An image with a file of its own."""

    path: str

    def read(self) -> bytes:
        """The content of the file."""
        return Path(self.path).read_bytes()


@dataclass(frozen=True)
class Records:
    """Labelled, still encoded images in a fixed order that is the same on every machine.

    Reading `images` is quick in rising order. Splits keep the proportions of each stratum within
    each class.
    """

    origin: str
    class_names: list[str]
    keys: list[str]
    labels: list[int]
    strata: list[str]
    images: Sequence[Encoded]
    notes: list[str] = field(default_factory=list)

    def read(self, index: int) -> bytes:
        """The encoded bytes of image `index`, 0 <= index < len(keys)."""
        return self.images[index].read()


@dataclass(frozen=True, slots=True)
class Sample:
    """One decoded image: its row among all, and SHA-256 of its pixels before resizing."""

    row: int
    key: str
    label: int
    stratum: str
    pixels: str


def numbered(labels: list[int]) -> list[str]:
    """Names for classes that have none: their numbers, as many as there are different labels."""
    return [str(number) for number in range(len(set(labels)))]


def shards(path: Path, suffix: str) -> list[Path]:
    """The files that a file, a folder (its `*suffix` files) or a glob stands for, sorted.

    Raises:
        DataError: there is none.
    """
    with reading(path):
        if path.is_dir():
            what = f"This folder holds no {suffix} file."
            found = [file for file in path.iterdir() if file.suffix.lower() == suffix]
        else:
            what = "There is no such file."
            found = [path] if path.exists() else _glob(path)
    if not found:
        raise DataError(what, where=str(path), advice=CORRECT_PATH)
    return sorted(found)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the operating system says against reading `path` into a DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"This cannot be read: {error.strerror or error}.",
            where=str(error.filename or path),
            advice="Check that it is there and that you may read it.",
        ) from error


def _glob(path: Path) -> list[Path]:
    for position, part in enumerate(path.parts):
        if any(sign in part for sign in "*?["):
            literal, pattern = Path(*path.parts[:position]), "/".join(path.parts[position:])
            with contextlib.suppress(ValueError):  # a pattern that pathlib refuses finds nothing
                return [file for file in literal.glob(pattern) if file.is_file()]
    return []
