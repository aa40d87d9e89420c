"""Images in one folder for each class."""

from __future__ import annotations

import os
from pathlib import Path

from tmkd_deploy.data.samples import CORRECT_PATH, File, Records, reading
from tmkd_deploy.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})


def files(root: Path) -> list[Path]:
    """All images below the class folders of `root`, sorted; hidden files and folders are not."""
    return [image for folder in _class_folders(root) for image in _images(folder)]


def read_folder(root: Path, class_names: list[str] | None) -> Records:
    """The images of `root/<class>/**`; labels follow `class_names`, or the names sorted.

    Raises:
        DataError: no class folder, a class folder without images, or other names than asked for.
    """
    folders = _class_folders(root)
    found = [folder.name for folder in folders]
    names = found if class_names is None else class_names
    if sorted(names) != found:
        raise DataError(
            f"The class folders are {', '.join(found)}, but the recipe names {', '.join(names)}.",
            where=str(root),
            advice="Make 'data.class_names' hold exactly the folders' names, or leave it out.",
        )
    images: list[Path] = []
    labels: list[int] = []
    for folder in folders:
        inside = _images(folder)
        if not inside:
            raise DataError(
                f"The class folder {folder.name!r} holds no image.",
                where=str(folder),
                advice=f"Add images ({', '.join(sorted(SUFFIXES))}) or remove the folder.",
            )
        images += inside
        labels += [names.index(folder.name)] * len(inside)
    return Records(
        origin=f"folder {root}",
        class_names=names,
        keys=[image.relative_to(root).as_posix() for image in images],
        labels=labels,
        strata=[""] * len(images),
        images=[File(str(image)) for image in images],
    )


def _class_folders(root: Path) -> list[Path]:
    with reading(root):
        if not root.is_dir():
            what = "This is not a folder." if root.exists() else "There is no such folder."
            raise DataError(what, where=str(root), advice=CORRECT_PATH)
        folders = [item for item in root.iterdir() if item.is_dir() and _is_visible(item.name)]
    if not folders:
        raise DataError(
            "This folder is without class folders.",
            where=str(root),
            advice="Put the images of each class into a folder named after it: "
            f"{root.name}/<class>/<image>.png",
        )
    _refuse_unless_utf8(folders)
    return sorted(folders, key=lambda folder: folder.name)


def _images(folder: Path) -> list[Path]:
    found: list[Path] = []
    with reading(folder):
        for place, subfolders, names in os.walk(folder, onerror=_fail):
            subfolders[:] = filter(_is_visible, subfolders)
            found += [
                Path(place, name)
                for name in names
                if _is_visible(name) and Path(name).suffix.lower() in SUFFIXES
            ]
    _refuse_unless_utf8(found)
    return sorted(found, key=Path.as_posix)


def _refuse_unless_utf8(paths: list[Path]) -> None:
    """DataError where a name is no text: it could not be written into labels or reports."""
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"The name {path.name!r} is not UTF-8.",
                where=str(path.parent),
                advice="Rename it: names of classes and images appear in results and reports.",
            ) from error


def _is_visible(name: str) -> bool:
    return not name.startswith(".")


def _fail(error: OSError) -> None:
    raise error
