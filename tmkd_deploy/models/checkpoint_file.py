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
UNKNOWN_NAMES_AT_MOST = 500
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_ADVICE = "Use a safetensors file or a torch checkpoint that holds tensors only."
_OF_SCRIPT = (
    "It holds code, which is not run. If you trust the file, keep its weights alone: python -c "
    "\"import torch; torch.save(torch.jit.load('IN.pt', 'cpu').state_dict(), 'OUT.pt')\""
)
_OF_MODULE = (
    "Reading it needs its code, which is not run. If you trust the file, keep its weights alone, "
    "where its classes can be imported: python -c \"import torch; torch.save(torch.load('IN.pt', "
    "'cpu', weights_only=False)[].state_dict(), 'OUT.pt')\""
)
# Where trainers put weights, averaged ones first: timm's train.py, torchvision's, Lightning, and
# what tutorials write.
_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict", "net")


class TorchScriptFileError(UnsuitableFileError):
    """A file is a program and no checkpoint."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a torch file; no code in it runs.

    Trainers write more than tensors. Of several sets of weights, the averaged ones come first; what
    else the file holds, such as options, is not looked at.

    Raises:
        DataError: the file is missing, unreadable, too large, or holds anything but named tensors.
    """
    with open_checkpoint(path) as stream:
        try:
            loaded = _load(stream, is_safetensors=path.suffix == ".safetensors")
        except TorchScriptFileError as error:
            raise _unreadable(path, "This is a TorchScript program.", _OF_SCRIPT) from error
        except (UnsuitableFileError, MemoryError) as error:
            why = str(error) or "it asks for more memory than a file of its size holds"
            raise _unreadable(path, f"The checkpoint cannot be read: {why}.") from error
        # for damaged files, the unpickler raises whatever it stumbles on
        except Exception as error:
            raise _unreadable(path, "The checkpoint cannot be read.") from error
    state, place = _state_in(loaded)
    if isinstance(state, Placeholder):
        advice = _OF_MODULE.replace("[]", place)
        raise _unreadable(path, "This is a pickled module and no state dictionary.", advice)
    if not isinstance(state, dict) or not all(map(_is_entry, state.items())):
        raise _unreadable(path, "The checkpoint is not a plain dictionary of tensors.")
    return state


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
            return _read_zip(stream)
        if not start.startswith(_PICKLE):
            raise UnsuitableFileError("it is no torch file")
        return torch.load(stream, map_location="cpu", weights_only=True)


def _read_zip(stream: BinaryIO) -> Any:
    """A torch file, in which an inert placeholder takes the place of every unknown class.

    Trainers pickle their options with the weights. torch's restricted unpickler, which calls
    nothing but what it is allowed, gets a placeholder for each other name in the file.
    """
    unknown = torch.serialization.get_unsafe_globals_in_checkpoint(stream)
    stream.seek(0)
    if len(unknown) > UNKNOWN_NAMES_AT_MOST:  # each is looked up for every object
        raise UnsuitableFileError(f"it names {len(unknown):,} classes that are not torch's")
    with torch.serialization.safe_globals([(Placeholder, name) for name in unknown]):
        return torch.load(stream, map_location="cpu", weights_only=True)


class Placeholder(list[Any]):
    """Stands for an object of an unknown class, whose arguments and state it ignores."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass


def _state_in(loaded: Any) -> tuple[Any, str]:
    """The state dictionary within what a trainer saved, and its place as Python indexes it."""
    place = ""
    for _ in range(3):  # some trainers wrap twice; a file may hold itself
        found = []
        if isinstance(loaded, dict):
            found = [k for k in _KEYS if isinstance(loaded.get(k), dict | Placeholder)]
        if not found:
            break
        loaded, place = loaded[found[0]], f"{place}['{found[0]}']"
    if not isinstance(loaded, dict):
        return loaded, place
    return {k: value for k, value in loaded.items() if not _is_no_weight(k, value)}, place


def _check_archive(stream: BinaryIO, size: int) -> None:
    """Accept what torch writes: a zip file of uncompressed members that share no bytes."""
    with zipfile.ZipFile(_DirectoryReader(stream)) as archive:
        members = archive.infolist()
    stream.seek(0)
    if any(Path(each.filename).name == "constants.pkl" for each in members):
        raise TorchScriptFileError("it is a TorchScript program")
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


def _is_no_weight(name: Any, value: Any) -> bool:
    """Whether it is the extra state of a module, or the counter of an averaged model."""
    extra = isinstance(name, str) and name.endswith("_extra_state")
    return extra or (name == "n_averaged" and isinstance(value, Tensor))


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


def _unreadable(path: Path, problem: str, advice: str = "") -> DataError:
    return DataError(problem, where=str(path), advice=advice or _ADVICE)
