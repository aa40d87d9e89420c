"""The golden images: a few inputs with the logits that the measured engine produced.

Running them on another machine shows that this file with this runtime computes the same results
there. Two built-in pictures show the same of resizing.
"""

from __future__ import annotations

import re
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tmkd_deploy.runtime.archive import Contents, broken
from tmkd_deploy.runtime.bundle_engine import Engine
from tmkd_deploy.runtime.bundle_errors import BundleError
from tmkd_deploy.runtime.decision import decide
from tmkd_deploy.runtime.manifest import GOLDEN_PREPROCESSED
from tmkd_deploy.runtime.manifest_engine import BundledEngine
from tmkd_deploy.runtime.preprocess import Preprocessing

Scalar = TypeVar("Scalar", bound=np.generic)

MOST_GOLDEN_IMAGES = 1024
_PICTURES = ((97, 301), (301, 97))  # heights and widths: one is wide, the other tall
_PIXEL_TOLERANCE = 2  # processors may round a coefficient differently
# Exactly what numpy writes. Its own reader parses a header as Python code, with Python's errors.
_NPY = re.compile(
    rb"\x93NUMPY\x01\x00(?P<size>..)(?P<header>\{'descr': '(?P<type>[|<][a-z]\d)', "
    rb"'fortran_order': False, 'shape': \((?P<shape>\d{1,10}(?:, \d{1,10}){1,3})\), \} *\n)",
    re.DOTALL,
)


def golden_arrays(
    contents: Contents, engine: BundledEngine
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """The golden images (uint8 [k, height, width, 3]) and logits (float32 [k, classes]), k >= 1.

    Args:
        contents: the checked bundle.
        engine: the one that they belong to.

    Raises:
        BundleError: the arrays have other shapes or types.
    """
    manifest = contents.manifest
    try:
        images = read_array(contents.members[engine.golden_inputs], np.uint8)
        logits = read_array(contents.members[engine.golden_outputs], np.float32)
    except ValueError as error:
        raise broken(contents.path, "its golden images are not numpy arrays") from error
    count = len(images)
    fitting_images = images.shape == (count, manifest.height, manifest.width, 3)
    fitting_logits = logits.shape == (count, len(manifest.class_names))
    fitting_classes = engine.golden_classes is None or len(engine.golden_classes) == count
    if not 1 <= count <= MOST_GOLDEN_IMAGES or not (
        fitting_images and fitting_logits and fitting_classes and np.isfinite(logits).all()
    ):
        raise broken(contents.path, "its golden images and logits do not match its manifest")
    return images, logits


def preprocessed_pictures(preprocess: Preprocessing) -> npt.NDArray[np.uint8]:
    """What `preprocess` makes of the two built-in pictures, uint8 [2, height, width, 3]."""
    return np.stack([preprocess(_picture(height, width)) for height, width in _PICTURES])


def check_preprocessing(contents: Contents) -> int | None:
    """Preprocess the built-in pictures and compare the results.

    Returns:
        The largest difference of a pixel; None for a bundle of format version 1, which has no
        such pictures.

    Raises:
        BundleError: a pixel differs by more than 2 of 255, or the arrays have other shapes or
            types.
    """
    manifest = contents.manifest
    if manifest.format_version == 1:
        return None
    try:
        expected = read_array(contents.members[GOLDEN_PREPROCESSED], np.uint8)
    except ValueError as error:
        raise broken(contents.path, "its preprocessed pictures are no numpy array") from error
    if expected.shape != (len(_PICTURES), manifest.height, manifest.width, 3):
        raise broken(contents.path, "its preprocessed pictures do not match its manifest")
    found = preprocessed_pictures(manifest.preprocessing)
    pairs = zip(found, expected, strict=True)
    largest = max(int(np.abs(is_now.astype(np.int16) - was).max()) for is_now, was in pairs)
    if largest > _PIXEL_TOLERANCE:
        raise BundleError(
            f"Images are resized differently on this machine: a pixel of a built-in picture "
            f"differs by {largest} of 255, but only {_PIXEL_TOLERANCE} is allowed.",
            where=str(contents.path),
            advice="Install the Pillow version that the bundle was made with, or make it again.",
        )
    return largest


def _picture(height: int, width: int) -> npt.NDArray[np.uint8]:
    """A picture with smooth areas and sharp edges in every channel, the same everywhere."""
    rows, columns, channels = np.ogrid[:height, :width, :3]
    picture: npt.NDArray[np.uint8] = (
        (rows * rows // 16 + 3 * columns + 80 * channels) % 256
    ).astype(np.uint8)
    return picture


def check_golden(contents: Contents, engine: Engine) -> float:
    """Run the golden images and compare the results.

    Returns:
        The largest absolute difference of a logit.

    Raises:
        BundleError: a logit differs by more than the tolerance, or a predicted class differs.
    """
    images, _ = golden_arrays(contents, engine.description)
    return compare_golden(contents, engine.description, engine.logits(images))


def compare_golden(
    contents: Contents, engine: BundledEngine, logits: npt.NDArray[np.float32]
) -> float:
    """Compare an engine's logits for its golden images, float32 [k, classes], with the recorded.

    Returns, raises:
        As `check_golden`.
    """
    _, expected = golden_arrays(contents, engine)
    largest = float(np.abs(logits - expected).max())
    if not largest <= engine.golden_tolerance:
        raise _disagrees(
            contents,
            f"a golden image's logit differs by {largest:.4g}, but only "
            f"{engine.golden_tolerance:.4g} is allowed",
        )
    names = contents.manifest.class_names
    found = [names[label] for label in decide(logits, engine.decision)]
    recorded = engine.golden_classes or [names[label] for label in decide(expected, None)]
    for index, (is_now, was) in enumerate(zip(found, recorded, strict=True)):
        if is_now != was:
            raise _disagrees(contents, f"golden image {index} is now {is_now!r} instead of {was!r}")
    return largest


def _disagrees(contents: Contents, what: str) -> BundleError:
    return BundleError(
        f"The engine computes different results on this machine: {what}.",
        where=str(contents.path),
        advice="Do not use it on this machine. Install the runtime version it was measured with, "
        "or build and measure a bundle on this kind of machine.",
    )


def read_array(content: bytes, kind: type[Scalar]) -> npt.NDArray[Scalar]:
    """A view of a .npy file's array.

    Raises:
        ValueError: it is not as numpy writes it, or not of type `kind`.
    """
    found = _NPY.match(content)
    if found is None or int.from_bytes(found["size"], "little") != len(found["header"]):
        raise ValueError("not an array as numpy writes it")
    dtype = np.dtype(kind).newbyteorder("<")
    if found["type"].decode() != dtype.str:
        raise ValueError("unexpected array type")
    shape = [int(length) for length in found["shape"].split(b", ")]
    # this allocates nothing, whatever the header claims
    return np.frombuffer(content, dtype, offset=found.end()).reshape(shape)
