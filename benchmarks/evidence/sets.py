"""The five data sets as arrays."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image  # installed with timm

from benchmarks.evidence.plans import Plan
from tmkd_deploy.data.class_balanced import class_balanced_order
from tmkd_deploy.data.elpv import read_elpv
from tmkd_deploy.errors import MissingExtra

FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_CLASSES = (
    "t-shirt or top, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot"
)
SUBSET_SEED = 20260323


@dataclass(frozen=True)
class Part:
    """Images, uint8 [N, S, S, 3], and labels, int64 [N]."""

    images: np.ndarray
    labels: np.ndarray

    def rows(self, chosen: np.ndarray) -> Part:
        """The images and labels at the indices or mask `chosen`."""
        return Part(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True)
class DataSet:
    """The training images of students and teachers, and the test split."""

    class_names: list[str]
    train: Part
    teacher_train: Part
    test: Part


def read(name: str, root: Path, plan: Plan) -> DataSet:
    """The data set `name`, reduced to the subset of `plan`.

    Training images that repeat a test image pixel for pixel are dropped.
    """
    if name == "elpv":
        class_names, train, test = _elpv(plan.size)
    elif name == "fashion-mnist":
        class_names, train, test = _fashion(plan.size)
    else:
        class_names, train = _parquet(sorted((root / name).glob("train-*.parquet")), plan.size)
        _, test = _parquet(sorted((root / name).glob("test-*.parquet")), plan.size)
    if plan.classes:
        class_names = class_names[: plan.classes]
        train, test = (part.rows(part.labels < plan.classes) for part in (train, test))
    seen = {image.tobytes() for image in test.images}
    train = train.rows(np.array([image.tobytes() not in seen for image in train.images]))
    return DataSet(
        class_names,
        _class_balanced_subset(train, plan.train_images),
        _class_balanced_subset(train, plan.teacher_images),
        _class_balanced_subset(test, plan.test_images),
    )


def _class_balanced_subset(part: Part, images: int | None) -> Part:
    """The first `images` in class-balanced order."""
    if images is None or images >= len(part.labels):
        return part
    return part.rows(np.sort(class_balanced_order(part.labels, SUBSET_SEED)[:images]))


def _parquet(files: list[Path], size: int) -> tuple[list[str], Part]:
    if not files:
        raise SystemExit("A data set is missing in --data-root; see benchmarks/README.md.")
    tables = [pq.read_table(file) for file in files]
    images = [row["bytes"] for table in tables for row in table["image"].to_pylist()]
    labels = np.concatenate([table["label"].to_numpy() for table in tables])
    class_names = json.loads(tables[0].schema.metadata[b"class_names"])
    return class_names, Part(_decoded((io.BytesIO(data) for data in images), size), labels)


def _elpv(size: int) -> tuple[list[str], Part, Part]:
    """Functional or defective (probability above 0.5); every fifth one is a test cell."""
    try:
        cells = read_elpv(None)
    except MissingExtra as error:
        raise SystemExit(str(error)) from error
    images = _decoded((io.BytesIO(cell.read()) for cell in cells.images), size)
    all_cells = Part(images, np.array(cells.labels))
    test = np.zeros(len(cells.labels), dtype=bool)
    order = np.random.default_rng(SUBSET_SEED).permutation(len(cells.labels))
    for label in (0, 1):
        test[order[all_cells.labels[order] == label][::5]] = True
    return cells.class_names, all_cells.rows(~test), all_cells.rows(test)


def _fashion(size: int) -> tuple[list[str], Part, Part]:
    if not FASHION.is_dir():
        raise SystemExit("Fashion-MNIST is missing: apt-get install dataset-fashion-mnist")

    def part(kind: str) -> Part:
        pixels = gzip.decompress((FASHION / f"{kind}-images-idx3-ubyte.gz").read_bytes())[16:]
        labels = gzip.decompress((FASHION / f"{kind}-labels-idx1-ubyte.gz").read_bytes())[8:]
        grey = np.frombuffer(pixels, np.uint8).reshape(-1, 28, 28)
        border = (size - 28) // 2
        padded = np.pad(grey, ((0, 0), (border, border), (border, border)))
        images = np.repeat(padded[..., None], 3, axis=3)
        return Part(images, np.frombuffer(labels, np.uint8).astype(np.int64))

    return FASHION_CLASSES.split(", "), part("train"), part("t10k")


def _decoded(sources: Iterable[io.BytesIO], size: int) -> np.ndarray:
    images = []
    for source in sources:
        with Image.open(source) as image:
            colour = image.convert("RGB")
            if colour.size != (size, size):
                colour = colour.resize((size, size), Image.Resampling.BILINEAR)
            images.append(np.asarray(colour))
    return np.stack(images)
