"""WebDataset shards: tar files with the members <key>.<image suffix> and <key>.cls."""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tmkd_deploy.data.samples import EncodedDataset, find_files, numbered_class_names, reading
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
    """The shards that a file, a folder, a glob or a range such as shard-{000..003}.tar denotes.

    Raises:
        DataError: there are none.
    """
    brace = re.search(r"\{(\d+)\.\.(\d+)\}", path.as_posix())
    if brace is None:
        return find_files(path, ".tar")
    first, last = brace.groups()
    numbers = [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
    if not numbers:
        raise DataError(
            f"The range {brace.group()} is empty.",
            where=str(path),
            advice="Put the lower number first.",
        )
    written = path.as_posix()
    expanded = [written[: brace.start()] + number + written[brace.end() :] for number in numbers]
    return [shard for name in expanded for shard in files(Path(name))]


def read_webdataset(path: Path, class_names: list[str] | None) -> EncodedDataset:
    """The images of the shards at `path`, read in place; unnamed classes are numbered.

    Raises:
        DataError: a truncated or compressed tar file, or a key without exactly one image and label.
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
    return EncodedDataset(
        origin=f"webdataset {path}",
        class_names=class_names or numbered_class_names(labels),
        keys=keys,
        labels=labels,
        strata=[""] * len(keys),
        images=images,
    )


def _samples(shard: Path) -> dict[str, dict[str, _Member]]:
    """Image and label members by key and suffix.

    As in WebDataset, the suffix starts at the first dot of the file name.
    """
    samples: dict[str, dict[str, _Member]] = {}
    with reading(shard), shard.open("rb") as stream:
        for member in _members(shard, stream):
            folder, _, name = member.name.rpartition("/")
            stem, _, suffix = name.partition(".")
            if member.isreg() and suffix.lower() in SUFFIXES | {"cls"}:
                key = f"{folder}/{stem}" if folder else stem
                member_range = _Member(shard, member.offset_data, member.size)
                samples.setdefault(key, {})[suffix.lower()] = member_range
    return samples


def _members(shard: Path, stream: BinaryIO) -> list[tarfile.TarInfo]:
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            members = archive.getmembers()
            end = archive.offset
    except tarfile.TarError as error:
        raise _broken(shard, f"This is not a complete, uncompressed tar file: {error}.") from error
    # tarfile accepts a file that is truncated between two members; only the end mark reveals it
    stream.seek(end)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise _broken(shard, "This tar file is truncated or damaged: its end mark is missing.")
    return members


def _image_and_label(shard: Path, key: str, parts: dict[str, _Member]) -> tuple[_Member, int]:
    images = [member for suffix, member in parts.items() if suffix in SUFFIXES]
    if len(images) != 1 or "cls" not in parts:
        raise DataError(
            f"The sample {key!r} needs exactly one image and one label, but has: "
            f"{', '.join(parts)}.",
            where=str(shard),
            advice=f"Provide one {key}.cls and one image ({', '.join(sorted(SUFFIXES))}).",
        )
    with reading(shard):
        text = parts["cls"].read()[:32]
    try:
        return images[0], int(text)
    except ValueError as error:
        raise DataError(
            f"The label of the sample {key!r} is {text!r}, which is not an integer.",
            where=str(shard),
            advice=f"Write the class number as text into {key}.cls.",
        ) from error


def _broken(shard: Path, what: str) -> DataError:
    return DataError(
        what,
        where=str(shard),
        advice="Download this shard again, or write it as a plain .tar file.",
    )
