"""Text embeddings that were computed elsewhere: one vector a class, or one a view and class."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tmkd_deploy.errors import DataError
from tmkd_deploy.records.class_names import words
from tmkd_deploy.records.types import VIEWS

_HOW = "docs/explanation/method.md shows how to make such a file."


def read_embeddings(path: Path, class_names: Sequence[str]) -> Tensor:
    """The one tensor of a safetensors file as unit vectors [V, C, d], float32.

    It may be [C, d], the same for every view, or [V, C, d], with a row for each class in the order
    of `class_names`. Where the file's metadata has `class_names`, a JSON list, it is compared.

    Raises:
        DataError: the file cannot be read, or its tensor does not fit the classes.
    """
    found, metadata = _read(path)
    _must_name(path, metadata, class_names)
    wanted = f"[{len(class_names)}, d], or [{len(VIEWS)}, {len(class_names)}, d] for views"
    if found.ndim not in (2, 3) or found.shape[-1] < 2 or not found.is_floating_point():
        kind = str(found.dtype).removeprefix("torch.")
        raise _unfit(
            path,
            f"The text embeddings are {kind} of the shape {list(found.shape)}; floats of the "
            f"shape {wanted} are needed, with d at least 2.",
        )
    if found.shape[-2] != len(class_names):
        raise _unfit(
            path,
            f"The text embeddings have {found.shape[-2]} rows, and the data have "
            f"{len(class_names)} classes; the shape {wanted} is needed.",
        )
    if found.ndim == 3 and len(found) != len(VIEWS):
        raise _unfit(
            path,
            f"The text embeddings are for {len(found)} views; there are {len(VIEWS)}: "
            f"{', '.join(VIEWS)}.",
        )
    vectors = found.float().expand(len(VIEWS), -1, -1)
    lengths = vectors.norm(dim=-1)
    faulty = ~torch.isfinite(lengths) | (lengths == 0)
    if faulty.any():
        row = int(faulty.any(dim=0).nonzero()[0])
        raise _unfit(
            path,
            f"The text embedding of class {row}, {class_names[row]!r}, is zero or not finite.",
        )
    return F.normalize(vectors, dim=-1)


def _read(path: Path) -> tuple[Tensor, dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            if len(names) != 1:
                raise _unfit(
                    path,
                    f"The file holds {len(names)} tensors, and one is needed: "
                    f"the text embeddings of the classes.",
                )
            return file.get_tensor(names[0]), file.metadata() or {}
    except FileNotFoundError as error:
        raise DataError(
            "The text embeddings do not exist.",
            where=str(path),
            advice="Correct teacher.text.embeddings.",
        ) from error
    except (SafetensorError, OSError) as error:
        raise _unfit(path, "The text embeddings cannot be read as safetensors.") from error


def _must_name(path: Path, metadata: dict[str, str], class_names: Sequence[str]) -> None:
    """Compare the names that the file gives itself; free text says nothing that can be checked."""
    try:
        own = json.loads(metadata.get("class_names", "null"))
    except json.JSONDecodeError:
        return
    if not isinstance(own, list) or len(own) != len(class_names):
        return  # rows are counted anyway
    for row, (theirs, ours) in enumerate(zip(own, class_names, strict=True)):
        if words(str(theirs)) != words(ours):
            raise _unfit(
                path,
                f"Row {row} of the text embeddings is for {theirs!r}, and class {row} of the data "
                f"is {ours!r}.",
            )


def _unfit(path: Path, problem: str) -> DataError:
    return DataError(problem, where=str(path), advice=_HOW)
