"""Reading the source that the recipe's section 'data' describes."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from tmkd_deploy.data import elpv, folder, parquet, table, webdataset
from tmkd_deploy.data.groups import groups_of
from tmkd_deploy.data.layout import splits_in
from tmkd_deploy.data.samples import EncodedDataset, ImageFile, find_files, reading
from tmkd_deploy.data.shard_splits import shard_splits
from tmkd_deploy.data.split_names import LONG_NAME, Split
from tmkd_deploy.data.unused import unused_files
from tmkd_deploy.errors import DataError
from tmkd_deploy.recipe.schema import Data
from tmkd_deploy.records.class_names import class_name_problem
from tmkd_deploy.runtime.regular_file import read_regular

Roots = dict[Split | None, Path]  # None is the only one, where the recipe names no splits
READERS: dict[str, Callable[[Path, list[str] | None, Data], EncodedDataset]] = {
    "folder": lambda path, class_names, _: folder.read_folder(path, class_names),
    "table": table.read_table,
    "parquet": lambda path, class_names, _: parquet.read_parquet(path, class_names),
    "webdataset": lambda path, class_names, _: webdataset.read_webdataset(path, class_names),
}
FILES: dict[str, Callable[[Path, Data], list[Path]]] = {
    "folder": lambda path, _: folder.files(path),
    "table": table.files,
    "parquet": lambda path, _: find_files(path, ".parquet"),
    "webdataset": lambda path, _: webdataset.files(path),
}
SHARDS = {"parquet": ".parquet", "webdataset": ".tar"}
_SOURCES = {suffix: source for source, suffix in SHARDS.items()} | dict.fromkeys(
    (".csv", ".json", ".jsonl"), "table"
)
VAL_IS_TEST = (
    "The data have a validation split and no test split, so their validation split is the test "
    "split here, and another validation split is held out from the training images."
)


def source_of(path: Path) -> str:
    """The kind of source that a path denotes: shards, a table, or else a folder.

    Shards beside folders are no source of their own: the folders are the classes.

    Raises:
        DataError: the folder cannot be read.
    """
    if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises if no file can have the name
        return _SOURCES.get(path.suffix.lower(), "folder")
    with reading(path):
        inside = [each for each in path.iterdir() if not each.name.startswith(".")]
        if any(each.is_dir() for each in inside):
            return "folder"
    suffixes = {each.suffix.lower() for each in inside}
    return next((_SOURCES[suffix] for suffix in SHARDS.values() if suffix in suffixes), "folder")


def source_fingerprint(spec: Data) -> str:
    """A hash that changes when the source's files do, computed without opening images.

    It covers the name, size and modification time of each file, or the version and labels of
    elpv-dataset.

    Raises:
        DataError: the data do not exist.
        MissingExtra: the source is 'elpv' and elpv-dataset is not installed.
    """
    if spec.source == "elpv":
        version, table = elpv.version(), elpv.labels_file()
        with reading(table):
            content = hashlib.sha256(read_regular(table, elpv.MAX_TABLE_BYTES)).hexdigest()
        return hashlib.sha256(f"{version} {content}".encode()).hexdigest()
    digest = hashlib.sha256()
    for split, root in _roots(spec).items():
        digest.update(f"root {split}\n".encode())
        for file in FILES[spec.source](root, spec):
            with reading(file):
                state = file.stat()
            name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
            digest.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def read_source(spec: Data) -> EncodedDataset:
    """All images of the source, with their splits and groups if it has them.

    Raises:
        DataError: the data are missing, empty, of a single class, or wrongly labelled.
        MissingExtra: the source needs a package that is not installed.
    """
    if spec.source == "elpv":
        names = spec.class_names if isinstance(spec.class_names, list) else None
        return _checked(_renamed(elpv.read_elpv(names), spec), "elpv-dataset")
    parts = {split: _read(root, split, spec) for split, root in _roots(spec).items()}
    named = {split: part for split, part in parts.items() if split is not None}
    dataset = _concatenated(named, spec) if named else parts[None]
    dataset = _with_roles(dataset, str(spec.path or spec.train))
    if spec.fold and dataset.splits:
        raise DataError(
            "The data have their own test split, so no fold can be the test split.",
            where="data.fold",
            advice="Remove 'data.fold', or name data that are not split.",
        )
    if spec.source == "folder":
        places = [spec.path] if spec.path else [spec.train, spec.val, spec.test]
        used = {Path(image.path) for image in dataset.images if isinstance(image, ImageFile)}
        unused = [each for place in places if place for each in unused_files(place, used)]
        dataset = dataclasses.replace(dataset, unused=unused)
    return dataset


def _read(root: Path, split: Split | None, spec: Data) -> EncodedDataset:
    names = spec.class_names if isinstance(spec.class_names, list) else None
    dataset = READERS[spec.source](root, names, spec)
    dataset = _checked(_renamed(dataset, spec), str(root))
    if spec.group_by and not spec.group_by.startswith("column:"):
        groups = groups_of(
            dataset.keys,
            spec.group_by,
            # official test images are often named otherwise than the tracks of the training images
            required=split in (None, "train"),
            where=str(root),
            below_class=spec.source != "table",
        )
        dataset = dataclasses.replace(dataset, groups=groups)
    return dataset


def _roots(spec: Data) -> Roots:
    if spec.path is None:
        given: dict[Split, Path | None] = {"train": spec.train, "val": spec.val, "test": spec.test}
        return {split: root for split, root in given.items() if root is not None}
    found: dict[Split, Path] = {}
    if spec.source == "folder":
        found = splits_in(spec.path, spec.class_names or ())
    elif spec.source in SHARDS:
        found = shard_splits(spec.path, SHARDS[spec.source])
    return dict(found.items()) if found else {None: spec.path}


def _with_roles(dataset: EncodedDataset, where: str) -> EncodedDataset:
    """Take a lone validation split for the test split, whose images no choice may touch."""
    present = set(dataset.splits)
    if present == {"train", "val"}:
        splits: list[Split] = ["train" if each == "train" else "test" for each in dataset.splits]
        return dataclasses.replace(dataset, splits=splits, notes=[*dataset.notes, VAL_IS_TEST])
    if present and not present >= {"train", "test"}:
        raise DataError(
            f"The data have no splits but {' and '.join(sorted(present))}.",
            where=where,
            advice="Name a training and a test split, or no split at all.",
        )
    return dataset


def _renamed(dataset: EncodedDataset, spec: Data) -> EncodedDataset:
    """Give the classes their new names, if the recipe maps old names to new ones."""
    if not isinstance(spec.class_names, dict):
        return dataset
    unknown = [name for name in spec.class_names if name not in dataset.class_names]
    if unknown:
        raise DataError(
            f"There is no class {unknown[0]!r}; there are {_described(dataset.class_names)}.",
            where="data.class_names",
            advice="Give each class under its name in the data.",
        )
    names = [spec.class_names.get(name, name) for name in dataset.class_names]
    return dataclasses.replace(dataset, class_names=names)


def _checked(dataset: EncodedDataset, where: str) -> EncodedDataset:
    names = dataset.class_names
    if not dataset.keys:
        raise DataError(
            "This data set is empty.", where=where, advice="Add images, or choose another one."
        )
    for key, label in zip(dataset.keys, dataset.labels, strict=True):
        if not 0 <= label < len(names):
            raise DataError(
                f"The image {key!r} has the label {label}, but there are {_described(names)}, "
                f"labelled 0 to {len(names) - 1}.",
                where=where,
                advice="Correct the label, or list every class in 'data.class_names'.",
            )
    for name in (*names, *dataset.keys):
        if not _is_text(name):
            raise DataError(
                f"The name {name!r} is not valid text.",
                where=where,
                advice="Rename it: class and image names appear in results and reports.",
            )
    if len(names) < 2:
        raise DataError(
            f"This data set has a single class, {names[0]!r}.",
            where=where,
            advice="A classifier needs at least two classes: add images of another one.",
        )
    if problem := class_name_problem(names):
        raise DataError(
            problem,
            where=where,
            advice="Give every class a distinct name in 'data.class_names', and rename its "
            "folder if there is one.",
        )
    return dataset


def _is_text(name: str) -> bool:
    """False for lone surrogates: JSON and file names can hold them, UTF-8 cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _concatenated(parts: dict[Split, EncodedDataset], spec: Data) -> EncodedDataset:
    every = list(parts.values())
    first = every[0]
    for split, part in parts.items():
        if part.class_names != first.class_names:
            raise DataError(
                f"The training data have {_described(first.class_names)}, "
                f"but the {LONG_NAME[split]} data have {_described(part.class_names)}.",
                where=str(_roots(spec)[split]),
                advice="Give all splits the same classes.",
            )
        if part.splits:
            raise DataError(
                "This table has a column for the split, but the recipe already names its split.",
                where=str(_roots(spec)[split]),
                advice="Name a table of all images in 'data.path', or remove the column.",
            )
    grouped = any(part.groups for part in every)
    return EncodedDataset(
        origin=" and ".join(part.origin for part in every),
        class_names=first.class_names,
        keys=[f"{split}/{key}" for split, part in parts.items() for key in part.keys],
        labels=[label for part in every for label in part.labels],
        strata=[stratum for part in every for stratum in part.strata],
        images=[image for part in every for image in part.images],
        notes=first.notes,
        splits=[split for split, part in parts.items() for _ in part.keys],
        groups=[g for part in every for g in part.groups or [""] * len(part.keys)]
        if grouped
        else [],
    )


def _described(names: list[str]) -> str:
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return f"{len(names)} {'class' if len(names) == 1 else 'classes'} ({shown})"
