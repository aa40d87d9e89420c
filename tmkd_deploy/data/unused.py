"""The files of a folder source that are not used, and why."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from tmkd_deploy.data.folder import HEIC_SUFFIXES, SUFFIXES
from tmkd_deploy.data.prepared import UnusedFiles
from tmkd_deploy.data.samples import reading
from tmkd_deploy.runtime.image import HEIC_NEEDS

HIDDEN = "hidden"


def unused_files(root: Path, used: Collection[Path]) -> list[UnusedFiles]:
    """What lies in `root` beside the images `used`, by reason; a hidden folder counts as one."""
    found: dict[str, UnusedFiles] = {}
    with reading(root):
        for file in sorted(_all_files(root, used)):
            if file not in used:
                why = _why(file)
                earlier = found.get(why)
                found[why] = (
                    UnusedFiles(why=why, count=earlier.count + 1, example=earlier.example)
                    if earlier
                    else UnusedFiles(why=why, count=1, example=_shown(file.relative_to(root)))
                )
    return list(found.values())


def described(unused: list[UnusedFiles]) -> str | None:
    """A sentence on the files that someone may have meant to be used; None without any."""
    parts = [
        f"{each.count:,} {each.why}, such as {each.example!r}"
        for each in unused
        if each.why != HIDDEN
    ]
    if not parts:
        return None
    return f"Files that are not used: {'; '.join(parts)}."


def _all_files(root: Path, used: Collection[Path]) -> Iterator[Path]:
    """Every file below `root` and below linked class folders; other links are not followed."""
    folders = {folder for file in used for folder in file.parents if root in folder.parents}
    for start in (root, *(folder for folder in folders if folder.is_symlink())):
        for parent, inner, names in os.walk(start, onerror=_raise):
            yield from (Path(parent, name) for name in names)
            yield from (Path(parent, name) for name in inner if name.startswith("."))
            inner[:] = [name for name in inner if not name.startswith(".")]


def _why(file: Path) -> str:
    suffix = file.suffix.lower()
    if file.name.startswith("."):
        return HIDDEN
    if suffix in SUFFIXES:
        return "outside the class folders"
    if suffix in HEIC_SUFFIXES:
        return f"in HEIC, which {HEIC_NEEDS} would read"
    return f"with the suffix {_shown(Path(suffix[:20]))}" if suffix else "without a suffix"


def _shown(path: Path) -> str:
    """`path` as text that can be encoded, although a file name need not be."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


def _raise(error: OSError) -> None:
    raise error
