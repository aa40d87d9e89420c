"""Precomputed text embeddings: one vector per class, or one per view and class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tmkd_deploy.bounded_json import parse_json
from tmkd_deploy.errors import DataError
from tmkd_deploy.models.checkpoint_file import BYTES_AT_MOST
from tmkd_deploy.records.class_names import words
from tmkd_deploy.records.types import VIEWS
from tmkd_deploy.runtime.regular_file import UnsuitableFileError, open_regular

_ADVICE = "docs/explanation/method.md shows how to create such a file."


def read_embeddings(path: Path, class_names: Sequence[str]) -> Tensor:
    """The single tensor of a safetensors file as unit vectors [V, C, d], float32.

    The stored shape is [V, C, d], or [C, d] for the same vectors in every view, with one row per
    class in the order of `class_names`. If the file's metadata holds `class_names`, a JSON list,
    it must match.

    Raises:
        DataError: the file cannot be read, or its tensor does not match the classes.
    """
    stored, metadata = _read(path)
    _check_class_names(path, metadata, class_names)
    expected = f"[{len(class_names)}, d], or [{len(VIEWS)}, {len(class_names)}, d] for all views"
    if stored.ndim not in (2, 3) or stored.shape[-1] < 2 or not stored.is_floating_point():
        kind = str(stored.dtype).removeprefix("torch.")
        raise _mismatch(
            path,
            f"The text embeddings are {kind} with shape {list(stored.shape)}; expected floats with "
            f"shape {expected}, where d is at least 2.",
        )
    if stored.shape[-2] != len(class_names):
        raise _mismatch(
            path,
            f"The text embeddings have {stored.shape[-2]} rows, but the data have "
            f"{len(class_names)} classes; the expected shape is {expected}.",
        )
    if stored.ndim == 3 and len(stored) != len(VIEWS):
        raise _mismatch(
            path,
            f"The text embeddings have {len(stored)} views; expected {len(VIEWS)}: "
            f"{', '.join(VIEWS)}.",
        )
    vectors = stored.float().expand(len(VIEWS), -1, -1)
    lengths = vectors.norm(dim=-1)
    faulty = ~torch.isfinite(lengths) | (lengths == 0)
    if faulty.any():
        row = int(faulty.any(dim=0).nonzero()[0])
        raise _mismatch(
            path,
            f"The text embedding of class {row}, {class_names[row]!r}, is zero or not finite.",
        )
    return F.normalize(vectors, dim=-1)


def _read(path: Path) -> tuple[Tensor, dict[str, str]]:
    try:
        with open_regular(path, BYTES_AT_MOST), safe_open(path, "pt") as file:
            names = list(file.keys())
            if len(names) != 1:
                raise _mismatch(
                    path,
                    f"The file holds {len(names)} tensors; expected exactly one, the text "
                    "embeddings of the classes.",
                )
            return file.get_tensor(names[0]), file.metadata() or {}
    except FileNotFoundError as error:
        raise DataError(
            "The file of text embeddings does not exist.",
            where=str(path),
            advice="Correct teacher.text.embeddings.",
        ) from error
    except (SafetensorError, UnsuitableFileError, OSError) as error:
        raise _mismatch(path, "The text embeddings cannot be read as safetensors.") from error


def _check_class_names(path: Path, metadata: dict[str, str], class_names: Sequence[str]) -> None:
    """Compare the class names in the file's metadata; anything but a JSON list is ignored."""
    try:
        named = parse_json(metadata.get("class_names", "null").encode())
    except ValueError:
        return
    if not isinstance(named, list) or len(named) != len(class_names):
        return  # a wrong number of rows is reported by the caller
    for row, (theirs, ours) in enumerate(zip(named, class_names, strict=True)):
        if words(str(theirs)) != words(ours):
            raise _mismatch(
                path,
                f"Row {row} of the text embeddings is for {theirs!r}, but class {row} of the data "
                f"is {ours!r}.",
            )


def _mismatch(path: Path, problem: str) -> DataError:
    return DataError(problem, where=str(path), advice=_ADVICE)
