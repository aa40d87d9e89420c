"""The six data sets in five stratified splits."""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.model_selection import StratifiedKFold, train_test_split

from benchmarks.comparisons.protocol import SETS, SPLITS, VAL_SHARE
from tmkd_deploy.data.sources import read_source
from tmkd_deploy.recipe.schema import Data

SEED = 20261201
FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_CLASSES = (
    "t-shirt or top, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot"
)

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """One split of a data set: `rows` of each part."""

    pool: Pool
    rows: dict[str, npt.NDArray[np.int64]]

    def images(self, part: str, side: int) -> Pixels:
        """Images [N, side, side, 3] of a part."""
        return self.pool.at(side)[self.rows[part]]

    def labels(self, part: str) -> Labels:
        """Labels [N] of a part."""
        return self.pool.labels[self.rows[part]]


class Pool:
    """All images of a data set that take part, each once, with natural class shares."""

    def __init__(self, name: str, root: Path) -> None:
        plan = SETS[name]
        names, images, labels = _fashion() if name == "fashion-mnist" else _read(name, root)
        kept = np.flatnonzero(labels % plan.every == 0)
        kept = kept[_first_of_each(images[row] for row in kept)]
        if plan.pool and len(kept) > plan.pool:
            kept, _ = train_test_split(
                kept, train_size=plan.pool, stratify=labels[kept], random_state=SEED
            )
        self.name = name
        self.class_names = names[:: plan.every]
        self.labels: Labels = labels[kept] // plan.every
        self._encoded = [images[row] for row in kept]
        self._at: dict[int, Pixels] = {}

    def at(self, side: int) -> Pixels:
        """All images at a size, squashed."""
        if side not in self._at:
            self._at[side] = np.stack([_resized(each, side) for each in self._encoded])
        return self._at[side]

    @cached_property
    def splits(self) -> list[Split]:
        """The folds as test splits, and what is left of them."""
        folds = StratifiedKFold(SPLITS, shuffle=True, random_state=SEED)
        return [
            Split(self, self._parts(rest, test, SEED + number))
            for number, (rest, test) in enumerate(folds.split(self.labels, self.labels))
        ]

    def _parts(
        self, rest: npt.NDArray[np.int64], test: npt.NDArray[np.int64], seed: int
    ) -> dict[str, npt.NDArray[np.int64]]:
        train, val = train_test_split(
            rest, test_size=VAL_SHARE, stratify=self.labels[rest], random_state=seed
        )
        if (few := SETS[self.name].train) is not None:
            train, _ = train_test_split(
                train, train_size=few, stratify=self.labels[train], random_state=seed
            )
        return {"train": np.sort(train), "val": np.sort(val), "test": np.sort(test)}


def _read(name: str, root: Path) -> tuple[list[str], list[bytes], Labels]:
    place = {"source": "elpv"} if name == "elpv" else {"source": "parquet", "path": root / name}
    dataset = read_source(Data.model_validate(place))
    images = [dataset.read(row) for row in range(len(dataset.keys))]
    return list(dataset.class_names), images, np.array(dataset.labels, dtype=np.int64)


def _fashion() -> tuple[list[str], list[bytes], Labels]:
    if not FASHION.is_dir():
        raise SystemExit("Fashion-MNIST is missing: apt-get install dataset-fashion-mnist")
    packed = gzip.decompress((FASHION / "train-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((FASHION / "train-labels-idx1-ubyte.gz").read_bytes())[8:]
    images = []
    for pixels in np.frombuffer(packed, np.uint8).reshape(-1, 28, 28):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG", compress_level=1)
        images.append(file.getvalue())
    names = FASHION_CLASSES.split(", ")
    return names, images, np.frombuffer(labels, np.uint8).astype(np.int64)


def _first_of_each(images: Iterable[bytes]) -> list[int]:
    """The positions of images that repeat no earlier one, pixel for pixel."""
    seen: set[bytes] = set()
    first = []
    for position, encoded in enumerate(images):
        with Image.open(io.BytesIO(encoded)) as image:
            content = hashlib.sha256(image.convert("RGB").tobytes()).digest()
        if content not in seen:
            seen.add(content)
            first.append(position)
    return first


def _resized(encoded: bytes, side: int) -> Pixels:
    with Image.open(io.BytesIO(encoded)) as image:
        colour = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        return np.asarray(colour)
