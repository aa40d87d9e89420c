"""What an application learns of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tmkd_deploy.runtime.decision import probabilities


@dataclass(frozen=True, eq=False)
class Prediction:
    """The classification of one image.

    Attributes:
        label: name of the predicted class.
        index: position of `label` in the classifier's `class_names`.
        confidence: softmax probability of the predicted class, in [0, 1]. It is not always the
            highest if the bundle has a decision threshold.
        probabilities: softmax probabilities of all classes by name, in [0, 1]; they sum to 1.
        logits: raw outputs of the engine, float32 [classes].
    """

    label: str
    index: int
    confidence: float
    probabilities: dict[str, float]
    logits: npt.NDArray[np.float32]

    @classmethod
    def of(
        cls, class_names: Sequence[str], index: int, logits: npt.NDArray[np.float32]
    ) -> Prediction:
        """The prediction of class `index`; its probabilities are computed when first read.

        Args:
            class_names: names of the classes, in the order of the logits.
            index: position of the predicted class.
            logits: finite, float32 [classes].
        """
        found = cls.__new__(cls)
        found.__dict__.update(
            label=class_names[index],
            index=index,
            logits=logits,
            # the caller may change `logits`
            _given=(class_names, logits.copy()),
        )
        return found

    if not TYPE_CHECKING:  # other names are errors for a type checker

        def __getattr__(self, name: str) -> Any:
            """Compute `confidence` and `probabilities`; two threads may both do so."""
            if name not in ("confidence", "probabilities") or "_given" not in self.__dict__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            class_names, logits = self._given
            shares = probabilities(logits[np.newaxis])[0].tolist()
            self.__dict__["confidence"] = shares[self.index]
            # a dictionary that another thread has been given already stays the one
            self.__dict__.setdefault("probabilities", dict(zip(class_names, shares, strict=True)))
            return self.__dict__[name]
