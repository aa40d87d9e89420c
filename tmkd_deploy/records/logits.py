"""Logits that were checked: the only form in which figures are made of a model's outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tmkd_deploy.errors import DataError


class LogitsError(DataError):
    """Outputs of which no figure can be made.

    `first_image` is the index of the first image with a logit that is not finite; None if they are
    not logits of these images and classes at all.
    """

    def __init__(self, problem: str, first_image: int | None = None) -> None:
        super().__init__(
            problem,
            advice="Check the weights it starts from, and train it again with a lower learning "
            "rate.",
        )
        self.first_image = first_image


class Logits:
    """The logits of one representation of the model; they cannot be changed.

    An instance is proof of the check, so whatever takes one need not check again.
    """

    def __init__(
        self, answers: Sequence[np.ndarray], *, of: str, images: Sequence[str], classes: int
    ) -> None:
        """Check what a model answered.

        Args:
            answers: floating point [n, classes] each, in the order of the images.
            of: whose they are, as in "the FP16 engine".
            images: the names of the N images.
            classes: how many there are, C.

        Raises:
            LogitsError: together they are not floating point [N, C], or not all are finite.
        """
        expected = (len(images), classes)
        try:
            found = np.concatenate([np.asarray(each) for each in answers])
        except (ValueError, TypeError) as error:
            raise LogitsError(f"{_of(of)} have no common shape: {error}.") from error
        if found.shape != expected or not np.issubdtype(found.dtype, np.floating):
            raise LogitsError(
                f"{_of(of)} are {found.dtype} {list(found.shape)}, and must be floating point "
                f"{list(expected)}."
            )
        with np.errstate(over="ignore"):  # beyond float32 is infinite, and refused below
            self._values = found.astype(np.float32)
        broken = np.flatnonzero(~np.isfinite(self._values).all(axis=1))
        if len(broken):
            first = int(broken[0])
            raise LogitsError(
                f"{_of(of)} are not finite for {len(broken)} of {len(images)} images, the first "
                f"being {images[first]!r}.",
                first,
            )
        self._values.setflags(write=False)

    @property
    def values(self) -> np.ndarray:
        """The logits, float32 [N, C], finite and read-only."""
        return self._values

    @property
    def predictions(self) -> np.ndarray:
        """The predicted class of each image, integers [N]."""
        predicted: np.ndarray = self._values.argmax(axis=1)
        return predicted


def _of(name: str) -> str:
    return f"The logits of {name}"
