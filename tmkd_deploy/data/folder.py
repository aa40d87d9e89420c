"""Images in one folder per class."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from tmkd_deploy.data.samples import CORRECT_PATH, EncodedDataset, ImageFile, reading
from tmkd_deploy.errors import DataError
from tmkd_deploy.runtime.image import HEIC_NEEDS

HEIC_SUFFIXES = frozenset({".heic", ".heif"})
READS_HEIC = importlib.util.find_spec("pillow_heif") is not None
SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
    | (HEIC_SUFFIXES if READS_HEIC else set())
)


def files(root: Path) -> list[Path]:
    """All images below the class folders of `root`, sorted, except hidden ones."""
    return [image for folder in _class_folders(root) for image in _images(folder)]


def read_folder(root: Path, class_names: list[str] | None) -> EncodedDataset:
    """The images of `root/<class>/**`; labels follow `class_names`, or the sorted folder names.

    Raises:
        DataError: no class folders, a class folder without images, or names that differ from
            `class_names`.
    """
    folders = _class_folders(root)
    found = [folder.name for folder in folders]
    names = found if class_names is None else class_names
    if sorted(names) != found:
        raise DataError(
            f"The class folders are {', '.join(found)}, but the recipe names {', '.join(names)}.",
            where=str(root),
            advice="List exactly the folder names in 'data.class_names', or remove it.",
        )
    images: list[Path] = []
    labels: list[int] = []
    for folder in folders:
        in_class = _images(folder)
        if not in_class:
            raise DataError(
                f"The class folder {folder.name!r} contains no images.",
                where=str(folder),
                advice=f"Add images ({', '.join(sorted(SUFFIXES))}) or remove the folder."
                + ("" if READS_HEIC else f" To read HEIC, run: {HEIC_NEEDS}"),
            )
        images += in_class
        labels += [names.index(folder.name)] * len(in_class)
    return EncodedDataset(
        origin=f"folder {root}",
        class_names=names,
        keys=[image.relative_to(root).as_posix() for image in images],
        labels=labels,
        strata=[""] * len(images),
        images=[ImageFile(str(image)) for image in images],
    )


def _class_folders(root: Path) -> list[Path]:
    with reading(root):
        if not root.is_dir():
            what = "This is not a folder." if root.exists() else "This folder does not exist."
            raise DataError(what, where=str(root), advice=CORRECT_PATH)
        folders = [item for item in root.iterdir() if item.is_dir() and _is_visible(item.name)]
    if not folders:
        raise DataError(
            "This folder contains no class folders.",
            where=str(root),
            advice="Put the images of each class into a folder named after it: "
            f"{root.name}/<class>/<image>.png",
        )
    _refuse_unless_utf8(folders)
    return sorted(folders, key=lambda folder: folder.name)


def _images(folder: Path) -> list[Path]:
    found: list[Path] = []
    with reading(folder):
        for parent, subfolders, names in os.walk(folder, onerror=_raise):
            subfolders[:] = filter(_is_visible, subfolders)
            found += [
                Path(parent, name)
                for name in names
                if _is_visible(name) and Path(name).suffix.lower() in SUFFIXES
            ]
    _refuse_unless_utf8(found)
    return sorted(found, key=Path.as_posix)


def _refuse_unless_utf8(paths: list[Path]) -> None:
    """Raise DataError for a name that is not valid text and could not appear in reports."""
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"The name {path.name!r} is not UTF-8.",
                where=str(path.parent),
                advice="Rename it: class and image names appear in results and reports.",
            ) from error


def _is_visible(name: str) -> bool:
    return not name.startswith(".")


def _raise(error: OSError) -> None:
    raise error
