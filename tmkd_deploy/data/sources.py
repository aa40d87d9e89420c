"""From the recipe's section 'data' to records, whatever their source."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from tmkd_deploy.artifacts import sha256_of
from tmkd_deploy.data import elpv, folder, parquet, webdataset
from tmkd_deploy.data.samples import Records, reading, shards
from tmkd_deploy.errors import DataError
from tmkd_deploy.recipe.schema import Data
from tmkd_deploy.records.class_names import fault

READERS: dict[str, Callable[[Path, list[str] | None], Records]] = {
    "folder": folder.read_folder,
    "parquet": parquet.read_parquet,
    "webdataset": webdataset.read_webdataset,
}
FILES: dict[str, Callable[[Path], list[Path]]] = {
    "folder": folder.files,
    "parquet": lambda path: shards(path, ".parquet"),
    "webdataset": webdataset.files,
}


def source_fingerprint(spec: Data) -> str:
    """A hash that changes when the source's files do; no image is opened.

    It covers each file's name, size and time of change, or the version and labels of elpv-dataset.

    Raises:
        DataError: the data are not there.
        MissingExtra: the source is 'elpv' and elpv-dataset is not installed.
    """
    if spec.source == "elpv":
        version, table = elpv.version(), elpv.labels_file()
        with reading(table):
            return hashlib.sha256(f"{version} {sha256_of(table)}".encode()).hexdigest()
    digest = hashlib.sha256()
    for root in _roots(spec):
        digest.update(b"root\n")
        for file in FILES[spec.source](root):
            with reading(file):
                state = file.stat()
            name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
            digest.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def read_source(spec: Data) -> tuple[Records, int | None]:
    """All images of the source and, where the recipe gives the split, the first that tests.

    Raises:
        DataError: the data are missing, empty, of one class, or their labels do not fit.
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
            f"The training data have {_listed(train.class_names)}, "
            f"but the test data have {_listed(test.class_names)}.",
            where=str(spec.test),
            advice="Give both splits the same classes.",
        )
    return _joined(train, test), len(train.keys)


def _roots(spec: Data) -> list[Path]:
    return [root for root in (spec.path, spec.train, spec.test) if root is not None]


def _checked(records: Records, where: str) -> Records:
    names = records.class_names
    if not records.keys:
        raise DataError(
            "This data set is empty.", where=where, advice="Put images there, or name another one."
        )
    for key, label in zip(records.keys, records.labels, strict=True):
        if not 0 <= label < len(names):
            raise DataError(
                f"The image {key!r} has the label {label}, but there are {_listed(names)}, "
                f"labelled 0 to {len(names) - 1}.",
                where=where,
                advice="Correct the label, or name every class in 'data.class_names'.",
            )
    if len(names) < 2:
        raise DataError(
            f"This data set has a single class, {names[0]!r}.",
            where=where,
            advice="A classifier needs two classes at least: add the images of another.",
        )
    if problem := fault(names):
        raise DataError(
            problem,
            where=where,
            advice="Give every class words of its own in 'data.class_names', and rename its "
            "folder if it has one.",
        )
    return records


def _joined(train: Records, test: Records) -> Records:
    return Records(
        origin=f"{train.origin} and {test.origin}",
        class_names=train.class_names,
        keys=[f"train/{key}" for key in train.keys] + [f"test/{key}" for key in test.keys],
        labels=train.labels + test.labels,
        strata=train.strata + test.strata,
        images=[*train.images, *test.images],
        notes=train.notes,
    )


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return f"{len(names)} {'class' if len(names) == 1 else 'classes'} ({shown})"
