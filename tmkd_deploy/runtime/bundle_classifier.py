"""Load a bundle once, then classify images."""

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
    """The classification of one image.

    Attributes:
        label: name of the predicted class.
        index: position of `label` in the classifier's `class_names`.
        confidence: softmax probability of the predicted class, in (0, 1].
        probabilities: softmax probabilities of all classes by name, in [0, 1]; they sum to 1.
        logits: raw outputs of the engine, float32 [classes].
    """

    label: str
    index: int
    confidence: float
    probabilities: dict[str, float]
    logits: npt.NDArray[np.float32]


class Classifier:
    """A loaded bundle; create it with `load`. It is safe to share between threads.

    Attributes:
        manifest: the bundle's description of itself.
        class_names: names of the classes, in the order of the logits.
    """

    def __init__(self, manifest: Manifest, engine: Engine) -> None:
        self.manifest = manifest
        self.class_names = manifest.class_names
        self._engine = engine

    def predict(self, image: Image) -> Prediction:
        """Classify one image.

        Args:
            image: path of an image file, the bytes of such a file, or RGB pixels as uint8 [H, W, 3]
                in [0, 255]. Any size is resized to the engine's input (bilinear, antialiased).

        Returns:
            The predicted class with its confidence.

        Raises:
            UnreadableImage: the image cannot be decoded.
            BundleError: the engine fails or returns logits that are not finite.
        """
        return self.predict_batch([image])[0]

    def predict_batch(self, images: Sequence[Image]) -> list[Prediction]:
        """Classify several images in one batch.

        Args:
            images: as for `predict`; they may differ in kind and size.

        Returns:
            One prediction per image, in the same order; empty for no images.

        Raises:
            UnreadableImage: an image cannot be decoded; the message names it or its position.
            BundleError: the engine fails or returns logits that are not finite.
        """
        if not images:
            return []
        batch = np.stack([self._pixels(image, index) for index, image in enumerate(images)])
        return [self._prediction(logits) for logits in self._engine.logits(batch)]

    def _pixels(self, image: Image, index: int) -> npt.NDArray[np.uint8]:
        try:
            return resize(_rgb(image), self.manifest.height, self.manifest.width)
        except UnreadableImage as error:
            name = image if isinstance(image, str | Path) else f"number {index}"
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
            f"It is an array of type {image.dtype} and shape {list(image.shape)}; arrays must be "
            "uint8 of shape [height, width, 3] in RGB order."
        )
    return image


def load(path: Path | str, *, threads: int | None = None, verify: bool = True) -> Classifier:
    """Load a bundle.

    Args:
        path: the bundle's `.tmkd` file.
        threads: number of threads for inference, at least 1. The default is the number it was
            measured with, but at most the number of cores available to this process.
        verify: run the golden images and compare their results. Hashes are always checked.

    Returns:
        A classifier ready for use.

    Raises:
        RuntimeMissingError: this machine or this version of tmkd-deploy cannot run the engine.
        BundleError: the bundle is missing, truncated, altered or unsafe, or computes different
            results on this machine.
    """
    contents = read_archive(Path(path))
    engine = open_engine(contents, threads=threads)
    if verify:
        check_golden(contents, engine)
    return Classifier(contents.manifest, engine)
