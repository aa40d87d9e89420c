"""WebDataset shards: tar files with the members <key>.<image suffix> and <key>.cls."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from tmkd_deploy.data.samples import EncodedDataset, find_files, numbered_class_names, reading
from tmkd_deploy.errors import DataError
from tmkd_deploy.runtime.image_limits import MAX_BYTES
from tmkd_deploy.runtime.regular_file import open_regular

SUFFIXES = frozenset({"png", "jpg", "jpeg", "webp"})
MAX_SHARDS = 100_000
MAX_LABEL_BYTES = 32
MAX_NAME_BYTES = 1 << 20  # of a long name, or of the extended headers of a member
_RANGE = re.compile(r"\{(\d{1,12})\.\.(\d{1,12})\}")
_EXTENSIONS = frozenset(
    {
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
    }
)


@dataclass(frozen=True, slots=True)
class _Member:
    shard: Path
    offset: int
    size: int

    def read(self) -> bytes:
        with open_regular(self.shard) as stream:
            stream.seek(self.offset)
            return stream.read(self.size)


def files(path: Path) -> list[Path]:
    """The shards that a file, a folder, a glob or a range such as shard-{000..003}.tar denotes.

    Raises:
        DataError: there are none.
    """
    shards = 1
    for brace in _RANGE.finditer(path.as_posix()):
        first, last = map(int, brace.groups())
        if last < first:
            raise DataError(
                f"The range {brace.group()} is empty.",
                where=str(path),
                advice="Put the lower number first.",
            )
        shards *= last - first + 1
    if shards > MAX_SHARDS:
        raise DataError(
            f"This denotes {shards:,} shards; at most {MAX_SHARDS:,} are allowed.",
            where=str(path),
            advice="Give the numbers of the first and the last shard that exist.",
        )
    return _expanded(path)


def _expanded(path: Path) -> list[Path]:
    brace = _RANGE.search(path.as_posix())
    if brace is None:
        return find_files(path, ".tar")
    first, last = brace.groups()
    numbers = [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
    written = path.as_posix()
    expanded = [written[: brace.start()] + number + written[brace.end() :] for number in numbers]
    return [shard for name in expanded for shard in _expanded(Path(name))]


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
    with reading(shard), open_regular(shard) as stream:
        for member in _members(shard, stream):
            folder, _, name = member.name.rpartition("/")
            stem, _, suffix = name.partition(".")
            if member.isreg() and suffix.lower() in SUFFIXES | {"cls"}:
                key = f"{folder}/{stem}" if folder else stem
                member_range = _Member(shard, member.offset_data, member.size)
                samples.setdefault(key, {})[suffix.lower()] = member_range
    return samples


class _Header(tarfile.TarInfo):
    """A header whose size is plausible; a negative one would be read again for ever."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _EXTENSIONS and header.size > MAX_NAME_BYTES):
            raise tarfile.ReadError(f"a header has the size {header.size}")
        return header


def _members(shard: Path, stream: BinaryIO) -> Iterator[tarfile.TarInfo]:
    try:
        with tarfile.open(fileobj=stream, mode="r:", tarinfo=_Header) as archive:
            while (member := archive.next()) is not None:
                _check(member, shard, stream)
                yield member
                archive.members.clear()  # type: ignore[attr-defined] # it would keep them all
            end = archive.offset
    except tarfile.TarError as error:
        raise _broken(shard, f"This is not a complete, uncompressed tar file: {error}.") from error
    except (ValueError, OverflowError, LookupError, RecursionError) as error:
        raise _broken(shard, "This tar file is damaged: a header is not valid.") from error
    # tarfile accepts a file that is truncated between two members; only the end mark reveals it
    stream.seek(end)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise _broken(shard, "This tar file is truncated or damaged: its end mark is missing.")


def _check(member: tarfile.TarInfo, shard: Path, stream: BinaryIO) -> None:
    """Check the member's size, which extended headers may have replaced.

    Raises:
        DataError: it is negative, beyond the end, or more than an image may have.
    """
    if member.isreg() and member.sparse is not None:
        raise _broken(shard, f"The member {member.name!r} is stored as a sparse file.")
    rest = os.fstat(stream.fileno()).st_size - member.offset_data
    if not 0 <= member.size <= rest:
        raise _broken(shard, f"The member {member.name!r} is not complete: {member.size} bytes.")
    if member.size > MAX_BYTES and member.isreg():
        raise DataError(
            f"The member {member.name!r} is larger than {MAX_BYTES >> 20} MiB.",
            where=str(shard),
            advice="Remove it, or store the image in less space.",
        )


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
        label = parts["cls"]
        text = replace(label, size=min(label.size, MAX_LABEL_BYTES)).read()
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
