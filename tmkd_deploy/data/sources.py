"""Reading the source that the recipe's section 'data' describes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from tmkd_deploy.data import elpv, folder, parquet, webdataset
from tmkd_deploy.data.samples import EncodedDataset, find_files, reading
from tmkd_deploy.errors import DataError
from tmkd_deploy.recipe.schema import Data
from tmkd_deploy.records.class_names import class_name_problem
from tmkd_deploy.runtime.regular_file import read_regular

READERS: dict[str, Callable[[Path, list[str] | None], EncodedDataset]] = {
    "folder": folder.read_folder,
    "parquet": parquet.read_parquet,
    "webdataset": webdataset.read_webdataset,
}
FILES: dict[str, Callable[[Path], list[Path]]] = {
    "folder": folder.files,
    "parquet": lambda path: find_files(path, ".parquet"),
    "webdataset": webdataset.files,
}


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
    for root in _roots(spec):
        digest.update(b"root\n")
        for file in FILES[spec.source](root):
            with reading(file):
                state = file.stat()
            name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
            digest.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def read_source(spec: Data) -> tuple[EncodedDataset, int | None]:
    """All images of the source and, if the recipe defines the split, the first test image's index.

    Raises:
        DataError: the data are missing, empty, of a single class, or wrongly labelled.
        MissingExtra: the source needs a package that is not installed.
    """
    if spec.source == "elpv":
        return _checked(elpv.read_elpv(spec.class_names), "elpv-dataset"), None
    read = READERS[spec.source]
    parts = [_checked(read(root, spec.class_names), str(root)) for root in _roots(spec)]
    if len(parts) == 1:
        return parts[0], None
    train, test = parts
    if train.class_names != test.class_names:
        raise DataError(
            f"The training data have {_described(train.class_names)}, "
            f"but the test data have {_described(test.class_names)}.",
            where=str(spec.test),
            advice="Give both splits the same classes.",
        )
    return _concatenate(train, test), len(train.keys)


def _roots(spec: Data) -> list[Path]:
    return [root for root in (spec.path, spec.train, spec.test) if root is not None]


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


def _concatenate(train: EncodedDataset, test: EncodedDataset) -> EncodedDataset:
    return EncodedDataset(
        origin=f"{train.origin} and {test.origin}",
        class_names=train.class_names,
        keys=[f"train/{key}" for key in train.keys] + [f"test/{key}" for key in test.keys],
        labels=train.labels + test.labels,
        strata=train.strata + test.strata,
        images=[*train.images, *test.images],
        notes=train.notes,
    )


def _described(names: list[str]) -> str:
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return f"{len(names)} {'class' if len(names) == 1 else 'classes'} ({shown})"
