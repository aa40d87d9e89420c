"""Load a bundle once, then classify images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tmkd_deploy.runtime.archive import read_archive
from tmkd_deploy.runtime.arguments import (
    as_list,
    as_path,
    check_colour,
    check_flag,
    check_threads,
)
from tmkd_deploy.runtime.bundle_engine import Engine, Source, open_best
from tmkd_deploy.runtime.decision import decide
from tmkd_deploy.runtime.golden import check_golden, check_preprocessing
from tmkd_deploy.runtime.image import UnreadableImage
from tmkd_deploy.runtime.image_input import ImageInput, pixels_of
from tmkd_deploy.runtime.manifest import Manifest
from tmkd_deploy.runtime.manifest_engine import BundledEngine
from tmkd_deploy.runtime.prediction import Prediction


class Classifier:
    """A loaded bundle; create it with `load`. It is safe to share between threads.

    Attributes:
        manifest: the bundle's description of itself.
        class_names: names of the classes, in the order of the logits.
        engine: the engine that runs, of those in the manifest; if it has a decision threshold,
            predictions follow it.
        engine_source: `bundle`, or `installed` if `tmkd-deploy bundle install` built it on this
            machine.
        note: what to know of how the engine runs here, as a sentence; empty if there is nothing.
    """

    def __init__(self, manifest: Manifest, engine: Engine) -> None:
        self.manifest = manifest
        self.class_names = manifest.class_names
        self.engine: BundledEngine = engine.description
        self.engine_source: Source = engine.source
        self.note = engine.note
        self._engine = engine
        self._preprocess = manifest.preprocessing

    def predict(self, image: ImageInput, *, colour: str = "RGB") -> Prediction:
        """Classify one image.

        Args:
            image: any of these, of any size; it is resized to the engine's input as the training
                images were:

                - the path of a PNG, JPEG, BMP, GIF, PPM, WebP or TIFF file, as str or Path,
                - the bytes of such a file, as bytes, bytearray or memoryview,
                - a Pillow image,
                - an array, uint8 in [0, 255], of shape [H, W, 3]; [H, W, 4], whose transparent
                  pixels are blended onto white; or greyscale [H, W] or [H, W, 1].
            colour: the order of an array's 3 or 4 channels: "RGB", or "BGR" as OpenCV has it. The
                fourth is always alpha.

        Returns:
            The predicted class with its confidence.

        Raises:
            UnreadableImage: the image cannot be decoded, is too large, or is something else.
            ArgumentError: `colour` is something else.
            BundleError: the engine fails, or returns logits of another shape or that are not
                finite.
        """
        check_colour(colour)
        pixels = self._pixels(image, colour, "The image")
        return self._classify(np.ascontiguousarray(pixels)[np.newaxis])[0]

    def predict_batch(
        self, images: Sequence[ImageInput], *, colour: str = "RGB"
    ) -> list[Prediction]:
        """Classify several images in one batch.

        Args:
            images: a list or tuple of images as for `predict`, which may differ in kind and size.
            colour: as for `predict`, for all images.

        Returns:
            One prediction per image, in the same order; empty for no images.

        Raises:
            UnreadableImage: as for `predict`; the message names the image or its position, from 0.
            ArgumentError: `images` or `colour` is something else.
            BundleError: as for `predict`.
        """
        check_colour(colour)
        given = [
            self._pixels(image, colour, f"The image number {index}")
            for index, image in enumerate(as_list(images))
        ]
        return self._classify(np.stack(given)) if given else []

    def _pixels(self, image: object, colour: str, name: str) -> npt.NDArray[np.uint8]:
        try:
            return self._preprocess(pixels_of(image, colour))
        except UnreadableImage as error:
            if isinstance(image, str | Path):
                text = str(image)
                name = f"The image {text if text.isprintable() else ascii(text)}"
            raise UnreadableImage(f"{name} cannot be used. {error}") from error

    def _classify(self, images: npt.NDArray[np.uint8]) -> list[Prediction]:
        """Classify uint8 [n, height, width, 3], C-contiguous, n >= 1."""
        logits = self._engine.logits(images)
        decided = decide(logits, self.engine.decision).tolist()
        return [
            Prediction.of(self.class_names, index, found)
            for index, found in zip(decided, logits, strict=True)
        ]


def load(path: Path | str, *, threads: int | None = None, verify: bool = True) -> Classifier:
    """Load a bundle, with the first of its engines that runs on this machine.

    Args:
        path: the bundle's `.tmkd` file.
        threads: number of threads for inference, from 1 to 256. The default is the number it was
            measured with, but at most the number of cores available to this process.
        verify: resize the built-in pictures, run the golden images, and compare the results.
            Hashes are always checked.

    Returns:
        A classifier ready for use.

    Raises:
        ArgumentError: an argument has another type or is out of range.
        RuntimeMissingError: this machine or this version of tmkd-deploy can run none of the
            engines.
        BundleError: the bundle is missing, truncated, altered or unsafe, or computes different
            results on this machine.
    """
    file = as_path(path)
    check_threads(threads)
    check_flag("verify", verify)
    contents = read_archive(file)
    engine = open_best(contents, threads=threads)
    if verify:
        check_preprocessing(contents)
        check_golden(contents, engine)
    return Classifier(contents.manifest, engine)
