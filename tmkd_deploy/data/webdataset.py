"""WebDataset shards: tar files whose members are <key>.<image suffix> and <key>.cls."""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tmkd_deploy.data.samples import Records, numbered, reading, shards
from tmkd_deploy.errors import DataError

SUFFIXES = frozenset({"png", "jpg", "jpeg", "webp"})


@dataclass(frozen=True, slots=True)
class _Member:
    shard: Path
    offset: int
    size: int

    def read(self) -> bytes:
        with self.shard.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size)


def files(path: Path) -> list[Path]:
    """The shards of a file, a folder, a glob or a brace range such as shard-{000..003}.tar."""
    brace = re.search(r"\{(\d+)\.\.(\d+)\}", path.as_posix())
    if brace is None:
        return shards(path, ".tar")
    first, last = brace.groups()
    numbers = [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
    if not numbers:
        raise DataError(
            f"The range {brace.group()} is empty.",
            where=str(path),
            advice="Write the lower number first.",
        )
    written = path.as_posix()
    expanded = [written[: brace.start()] + number + written[brace.end() :] for number in numbers]
    return [shard for name in expanded for shard in files(Path(name))]


def read_webdataset(path: Path, class_names: list[str] | None) -> Records:
    """The images of the shards at `path`, read in place; classes are numbers unless named.

    Raises:
        DataError: a truncated or compressed tar, or a key without its one image or its label.
    """
    keys: list[str] = []
    labels: list[int] = []
    images: list[_Member] = []
    for shard in files(path):
        for key, parts in sorted(_samples(shard).items()):
            image, label = _image_and_label(shard, key, parts)
            keys.append(f"{shard.name}/{key}")
            labels.append(label)
            images.append(image)
    return Records(
        origin=f"webdataset {path}",
        class_names=class_names or numbered(labels),
        keys=keys,
        labels=labels,
        strata=[""] * len(keys),
        images=images,
    )


def _samples(shard: Path) -> dict[str, dict[str, _Member]]:
    """Image and label members by key and suffix; as WebDataset has it, a suffix starts at the
    first dot of the file's name."""
    samples: dict[str, dict[str, _Member]] = {}
    with reading(shard), shard.open("rb") as stream:
        for member in _members(shard, stream):
            folder, _, name = member.name.rpartition("/")
            stem, _, suffix = name.partition(".")
            if member.isreg() and suffix.lower() in SUFFIXES | {"cls"}:
                key = f"{folder}/{stem}" if folder else stem
                place = _Member(shard, member.offset_data, member.size)
                samples.setdefault(key, {})[suffix.lower()] = place
    return samples


def _members(shard: Path, stream: BinaryIO) -> list[tarfile.TarInfo]:
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            members = archive.getmembers()
            end = archive.offset
    except tarfile.TarError as error:
        raise _broken(shard, f"This is not a complete, uncompressed tar file: {error}.") from error
    # tarfile takes a file cut between two members for a whole one; only the end mark tells.
    stream.seek(end)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise _broken(shard, "This tar file is truncated or damaged: its end mark is missing.")
    return members


def _image_and_label(shard: Path, key: str, parts: dict[str, _Member]) -> tuple[_Member, int]:
    images = [member for suffix, member in parts.items() if suffix in SUFFIXES]
    if len(images) != 1 or "cls" not in parts:
        raise DataError(
            f"The sample {key!r} needs one image and one label, but has: {', '.join(parts)}.",
            where=str(shard),
            advice=f"Give it one {key}.cls and one image ({', '.join(sorted(SUFFIXES))}).",
        )
    with reading(shard):
        text = parts["cls"].read()[:32]
    try:
        return images[0], int(text)
    except ValueError as error:
        raise DataError(
            f"The label of the sample {key!r} is {text!r}, which is not an integer.",
            where=str(shard),
            advice=f"Write the number of the class as text into {key}.cls.",
        ) from error


def _broken(shard: Path, what: str) -> DataError:
    return DataError(
        what, where=str(shard), advice="Fetch or write this shard again as a plain .tar file."
    )
