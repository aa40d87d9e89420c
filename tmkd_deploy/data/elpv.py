"""ELPV: electroluminescence images of solar cells, from the PyPI package elpv-dataset.

Buerhop-Lutz et al., "A Benchmark for Visual Identification of Defective Solar Cells in
Electroluminescence Imagery", EU PVSEC 2018.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

from tmkd_deploy.data.samples import EncodedDataset, ImageFile, reading
from tmkd_deploy.errors import DataError, MissingExtra
from tmkd_deploy.runtime.regular_file import read_regular

LICENCE = (
    "The ELPV images are licensed under CC BY-NC-SA 4.0: they, and models trained on them, "
    "are for non-commercial use only."
)
MAX_TABLE_BYTES = 16 << 20
THRESHOLD = "A cell counts as defective where its defect probability is above 0.5."


def version() -> str:
    """The installed version of elpv-dataset.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return importlib.metadata.version("elpv-dataset")
    except importlib.metadata.PackageNotFoundError as error:
        raise _missing() from error


def labels_file() -> Path:
    """The table of images, defect probabilities and cell types, located without importing it.

    Raises:
        MissingExtra: elpv-dataset is not installed.
    """
    found = importlib.util.find_spec("elpv_dataset")
    if found is None or not found.submodule_search_locations:
        raise _missing()
    return Path(found.submodule_search_locations[0], "data", "labels.csv")


def read_elpv(class_names: list[str] | None) -> EncodedDataset:
    """All cells as functional (0) or defective (1), stratified by type (mono or poly).

    Raises:
        MissingExtra: elpv-dataset is not installed.
        DataError: its label table cannot be read.
    """
    origin = f"elpv-dataset {version()}"
    table = labels_file()
    with reading(table):
        content = read_regular(table, MAX_TABLE_BYTES)
    try:
        lines = content.decode("utf-8").splitlines()
        rows = [line.split() for line in lines if line.strip()]
        cells = [(name, float(probability), kind) for name, probability, kind in rows]
    except ValueError as error:
        raise DataError(
            "The label table is damaged.",
            where=str(table),
            advice="Reinstall the package: pip install --force-reinstall elpv-dataset",
        ) from error
    return EncodedDataset(
        origin=origin,
        class_names=class_names or ["functional", "defective"],
        keys=[name for name, _, _ in cells],
        labels=[int(probability > 0.5) for _, probability, _ in cells],
        strata=[kind for _, _, kind in cells],
        images=[ImageFile(str(table.parent / name)) for name, _, _ in cells],
        notes=[LICENCE, THRESHOLD],
    )


def _missing() -> MissingExtra:
    return MissingExtra("The data source 'elpv'", "demo", "elpv-dataset")
