"""The golden images: a few inputs with the logits the engine gave where it was built.

Running them again on the device shows that this file, on this machine, with this runtime, computes
what was measured.
"""

from __future__ import annotations

from io import BytesIO
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tmkd_deploy.runtime.archive import Contents, broken
from tmkd_deploy.runtime.bundle_engine import Engine
from tmkd_deploy.runtime.bundle_errors import BundleError
from tmkd_deploy.runtime.manifest import GOLDEN_INPUTS, GOLDEN_OUTPUTS

Scalar = TypeVar("Scalar", bound=np.generic)


def golden_arrays(
    contents: Contents,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """The golden images (uint8 [k, height, width, 3]) and logits (float32 [k, classes]), k >= 1.

    Raises:
        BundleError: the arrays are not of these shapes and types.
    """
    manifest = contents.manifest
    try:
        images = _read_array(contents.members[GOLDEN_INPUTS], np.uint8)
        logits = _read_array(contents.members[GOLDEN_OUTPUTS], np.float32)
    except (ValueError, TypeError, EOFError, RecursionError, MemoryError) as error:
        raise broken(contents.path, "its golden images are not numpy arrays") from error
    count = len(images) if images.ndim else 0
    fitting_images = images.shape == (count, manifest.height, manifest.width, 3)
    fitting_logits = logits.shape == (count, len(manifest.class_names))
    if count == 0 or not (fitting_images and fitting_logits and np.isfinite(logits).all()):
        raise broken(contents.path, "its golden images and logits do not fit its manifest")
    return images, logits


def check_golden(contents: Contents, engine: Engine) -> float:
    """Run the golden images; returns the largest difference of a logit.

    Raises:
        BundleError: a logit differs by more than the tolerance, or a class is another one.
    """
    manifest = contents.manifest
    images, expected = golden_arrays(contents)
    logits = engine.logits(images)
    largest = float(np.abs(logits - expected).max())
    if not largest <= manifest.golden_tolerance:
        raise _disagrees(
            contents,
            f"a golden image's logit differs by {largest:.4g}, "
            f"and {manifest.golden_tolerance:.4g} is allowed",
        )
    for index, (is_now, was) in enumerate(zip(logits.argmax(1), expected.argmax(1), strict=True)):
        if is_now != was:
            raise _disagrees(
                contents,
                f"golden image {index} is now {manifest.class_names[is_now]!r} "
                f"instead of {manifest.class_names[was]!r}",
            )
    return largest


def _disagrees(contents: Contents, what: str) -> BundleError:
    return BundleError(
        f"The engine does not compute here what it computed where it was built: {what}.",
        where=str(contents.path),
        advice="Do not use it on this machine; install the runtime version it was measured with, "
        "or build and measure a bundle on this kind of machine.",
    )


def _read_array(content: bytes, kind: type[Scalar]) -> npt.NDArray[Scalar]:
    """A .npy file of exactly the type `kind`, viewed in place."""
    stream, dtype = BytesIO(content), np.dtype(kind)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("not the first version of the .npy format")
    shape, fortran_order, found = np.lib.format.read_array_header_1_0(stream)
    if fortran_order or found != dtype:
        raise ValueError("not the array that was expected")
    # Unlike numpy.load, this makes no room for an array that only the header claims.
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape)
