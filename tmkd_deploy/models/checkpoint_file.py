"""Checkpoints from anywhere: tensors only, no code, and memory in proportion to the file."""

from __future__ import annotations

import contextlib
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as from_bytes
from torch import Tensor

from tmkd_deploy.errors import DataError
from tmkd_deploy.memory_limit import memory_at_most
from tmkd_deploy.runtime.regular_file import UnsuitableFileError, open_regular

BYTES_AT_MOST = 16 << 30  # above the largest CLIP models
HEADER_BYTES_AT_MOST = 16 << 20  # of safetensors; some 100,000 tensors
DIRECTORY_BYTES_AT_MOST = 4 << 20  # of a torch file; some 30,000 tensors
# What torch and the other threads of this process need besides, while a file is read.
MEMORY_BESIDES = 2 << 30
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_ADVICE = "Use a safetensors file or a torch checkpoint that holds tensors only."


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a torch file loaded with `weights_only=True`.

    Raises:
        DataError: the file is missing, unreadable, too large, or holds anything but named tensors.
    """
    with open_checkpoint(path) as stream:
        try:
            loaded = _load(stream, is_safetensors=path.suffix == ".safetensors")
        except (UnsuitableFileError, MemoryError) as error:
            why = str(error) or "it asks for more memory than a file of its size holds"
            raise _unreadable(path, f"The checkpoint cannot be read: {why}.") from error
        # for damaged files, the unpickler raises whatever it stumbles on
        except Exception as error:
            raise _unreadable(path, "The checkpoint cannot be read.") from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(map(_is_entry, loaded.items())):
        raise _unreadable(path, "The checkpoint is not a plain dictionary of tensors.")
    return loaded


def read_shapes(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint on torch's meta device, of safetensors by its header alone.

    Raises:
        DataError: as `read_checkpoint` does.
    """
    if path.suffix != ".safetensors":
        return {name: tensor.to("meta") for name, tensor in read_checkpoint(path).items()}
    with open_checkpoint(path) as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        start = stream.read(8)
    if len(start) < 8 or struct.unpack("<Q", start)[0] > min(HEADER_BYTES_AT_MOST, size):
        raise _unreadable(path, "The checkpoint cannot be read: its header is too large.")
    try:
        with safe_open(path, "pt") as file:
            return {
                name: torch.empty(file.get_slice(name).get_shape(), device="meta")
                for name in file.keys()  # noqa: SIM118 - it is no mapping
            }
    except (SafetensorError, OSError, RuntimeError) as error:
        raise _unreadable(path, "The checkpoint cannot be read.") from error


@contextlib.contextmanager
def open_checkpoint(path: Path) -> Iterator[BinaryIO]:
    """The file at `path`, which is a regular one of at most `BYTES_AT_MOST`.

    Raises:
        DataError: it is missing, or not such a file.
    """
    try:
        stream = open_regular(path, BYTES_AT_MOST)
    except FileNotFoundError as error:
        raise DataError(
            "The checkpoint does not exist.", where=str(path), advice="Correct the path."
        ) from error
    except UnsuitableFileError as error:
        raise _unreadable(path, f"The checkpoint cannot be read: {error}.") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, "The checkpoint cannot be read.") from error
    with stream:
        yield stream


def _load(stream: BinaryIO, *, is_safetensors: bool) -> Any:
    size = stream.seek(0, 2)
    stream.seek(0)
    start = stream.read(8)
    stream.seek(0)
    with memory_at_most(3 * size + MEMORY_BESIDES):
        if is_safetensors:
            header = struct.unpack("<Q", start)[0]
            if header > min(HEADER_BYTES_AT_MOST, size):
                raise UnsuitableFileError(f"its header claims {header:,} bytes")
            # not load_file: it reports a Ctrl-C during the read as an unreadable file
            return from_bytes(stream.read())
        if start.startswith(_ZIP):
            _check_archive(stream, size)
        elif not start.startswith(_PICKLE):
            raise UnsuitableFileError("it is no torch file")
        return torch.load(stream, map_location="cpu", weights_only=True)


def _check_archive(stream: BinaryIO, size: int) -> None:
    """Accept what torch writes: a zip file of uncompressed members that share no bytes."""
    with zipfile.ZipFile(_DirectoryReader(stream)) as archive:
        members = archive.infolist()
    stream.seek(0)
    if any(each.compress_type != zipfile.ZIP_STORED for each in members):
        raise UnsuitableFileError("it is compressed, which torch files are not")
    if sum(each.file_size for each in members) > size:
        raise UnsuitableFileError("its members claim more bytes than it has")


class _DirectoryReader:
    """A file as `zipfile` needs it to read the directory, and no more of it at a time."""

    def __init__(self, stream: BinaryIO) -> None:
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable
        self._stream = stream

    def read(self, count: int = -1) -> bytes:
        if not 0 <= count <= DIRECTORY_BYTES_AT_MOST:
            # with no count, `zipfile` reads what may be a comment at the end: at most 64 KiB
            if count < 0:
                return self._stream.read(DIRECTORY_BYTES_AT_MOST)
            raise UnsuitableFileError("it has too many members")
        return self._stream.read(count)


def _is_entry(entry: tuple[Any, Any]) -> bool:
    """Whether it is the name of a dense tensor; others are not checked by torch, and unused."""
    name, value = entry
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _unreadable(path: Path, problem: str) -> DataError:
    return DataError(problem, where=str(path), advice=_ADVICE)
