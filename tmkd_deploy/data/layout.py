"""A folder that holds its splits: train/, val/ and test/, each with class folders."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from tmkd_deploy.data.folder import SUFFIXES
from tmkd_deploy.data.samples import reading
from tmkd_deploy.data.split_names import SPLITS, Split, split_named
from tmkd_deploy.errors import DataError


def splits_in(root: Path, classes: Collection[str]) -> dict[Split, Path]:
    """The folder of each split in `root`; empty if its folders are classes.

    A folder named after a split is a class if it is one of `classes`, or if it holds images itself
    and the other folders are classes too.

    Raises:
        DataError: folders of splits and of classes lie side by side, two folders are the same
            split, there is no training split beside others, or a split has no class folders.
    """
    if not os.path.isdir(root):  # noqa: PTH112 - Path.is_dir raises if no file can have the name
        return {}  # the reader says so
    with reading(root):
        folders = sorted(filter(_is_folder, root.iterdir()), key=lambda folder: folder.name)
    named = {
        folder: split
        for folder in folders
        if folder.name not in classes and (split := split_named(folder.name))
    }
    if not named:
        return {}
    flat = [folder for folder in named if _has_images(folder)]
    others = [folder for folder in folders if folder not in named and _holds_anything(folder)]
    if len(flat) == len(named) == 1 and others:
        return {}
    if flat:
        raise _ambiguous(
            root,
            f"The folder {flat[0].name!r} is named after a split, but holds images instead of "
            "class folders.",
        )
    if others:
        first = next(iter(named))
        raise _ambiguous(
            root,
            f"The folder {first.name!r} is named after a split, but lies beside the folder "
            f"{others[0].name!r}, which holds images too.",
        )
    splits: dict[Split, Path] = {}
    for folder, split in named.items():
        if split in splits:
            raise _ambiguous(
                root,
                f"The folders {splits[split].name!r} and {folder.name!r} are both named after the "
                "same split.",
            )
        splits[split] = folder
    if "train" not in splits or len(splits) == 1:
        found = ", ".join(folder.name for folder in named)
        missing = "no other split" if "train" in splits else "no training split"
        raise _ambiguous(root, f"This folder holds the split {found}, but {missing}.")
    return {split: splits[split] for split in SPLITS if split in splits}


def _ambiguous(root: Path, problem: str) -> DataError:
    return DataError(
        problem,
        where=str(root),
        advice="If these are splits, name them in 'data.train', 'data.val' and 'data.test', or set "
        "'data.path' to the one that is to be split. If they are classes, list the names of all "
        "class folders in 'data.class_names'.",
    )


def _is_folder(path: Path) -> bool:
    return not path.name.startswith(".") and path.is_dir()


def _has_images(folder: Path) -> bool:
    with reading(folder), os.scandir(folder) as entries:
        return any(Path(entry.name).suffix.lower() in SUFFIXES for entry in entries)


def _holds_anything(folder: Path) -> bool:
    """Whether images lie in `folder` or in a folder of it, as in a class folder."""
    if _has_images(folder):
        return True
    with reading(folder):
        return any(_has_images(inner) for inner in folder.iterdir() if _is_folder(inner))
