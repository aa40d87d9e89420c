"""What an application calls: load a bundle once, then predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tmkd_deploy.runtime.archive import read_archive
from tmkd_deploy.runtime.bundle_engine import Engine, open_engine
from tmkd_deploy.runtime.golden import check_golden
from tmkd_deploy.runtime.image import UnreadableImage, read_rgb, resize
from tmkd_deploy.runtime.manifest import Manifest

Image = str | Path | bytes | npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Prediction:
    """One image's class: `confidence` and `probabilities` are softmax values in [0, 1].

    `index` is the place of `label` in the bundle's class names; `logits` is float32 [classes].
    """

    label: str
    index: int
    confidence: float
    probabilities: dict[str, float]
    logits: npt.NDArray[np.float32]


class Classifier:
    """A loaded bundle. It may be shared by threads."""

    def __init__(self, manifest: Manifest, engine: Engine) -> None:
        self.manifest = manifest
        self.class_names = manifest.class_names
        self._engine = engine

    def predict(self, image: Image) -> Prediction:
        """Classify one image: a file's path, a file's bytes, or RGB pixels (uint8 [H, W, 3]).

        Raises:
            UnreadableImage: it is not an image that can be read.
            BundleError: the engine fails.
        """
        return self.predict_batch([image])[0]

    def predict_batch(self, images: Sequence[Image]) -> list[Prediction]:
        """Classify several images at once; as `predict`, in the same order."""
        if not images:
            return []
        batch = np.stack([self._pixels(image, place) for place, image in enumerate(images)])
        return [self._prediction(logits) for logits in self._engine.logits(batch)]

    def _pixels(self, image: Image, place: int) -> npt.NDArray[np.uint8]:
        try:
            return resize(_rgb(image), self.manifest.height, self.manifest.width)
        except UnreadableImage as error:
            name = image if isinstance(image, str | Path) else f"number {place}"
            raise UnreadableImage(f"The image {name} cannot be used. {error}") from error

    def _prediction(self, logits: npt.NDArray[np.float32]) -> Prediction:
        exponentials = np.exp(logits.astype(np.float64) - logits.max())
        probabilities = (exponentials / exponentials.sum()).tolist()
        index = int(logits.argmax())
        return Prediction(
            label=self.class_names[index],
            index=index,
            confidence=probabilities[index],
            probabilities=dict(zip(self.class_names, probabilities, strict=True)),
            logits=logits,
        )


def _rgb(image: Image) -> npt.NDArray[np.uint8]:
    if isinstance(image, str):
        return read_rgb(Path(image))
    if not isinstance(image, np.ndarray):
        return read_rgb(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UnreadableImage(
            f"It is an array of {image.dtype} and shape {list(image.shape)}; an array must be "
            "uint8 of shape [height, width, 3], in RGB order."
        )
    return image


def load(path: Path | str, *, threads: int | None = None, verify: bool = True) -> Classifier:
    """Open a bundle for use.

    `threads` (at least 1) defaults to those it was measured with, or fewer where this process has
    fewer cores. Hashes are always checked; `verify=False` only leaves out running the golden
    images.

    Raises:
        RuntimeMissingError: this machine or this version cannot run the bundle's runtime.
        BundleError: it is missing, truncated, altered, unsafe, or computes something else here.
    """
    contents = read_archive(Path(path))
    engine = open_engine(contents, threads=threads)
    if verify:
        check_golden(contents, engine)
    return Classifier(contents.manifest, engine)
