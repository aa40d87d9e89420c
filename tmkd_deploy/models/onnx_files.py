"""Models in ONNX files, named by their paths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tmkd_deploy.errors import DataError, RequestError
from tmkd_deploy.models.interface import Built, ModelSpec, WithoutPublishedWeights
from tmkd_deploy.models.onnx_import.convert import Converted, convert
from tmkd_deploy.models.onnx_import.original import Images, original

if TYPE_CHECKING:
    from tmkd_deploy.models.classifier import Classifier

_KEYWORDS = {"output", "channel_order"}
_FUNCTIONS = {"Softmax": torch.softmax, "LogSoftmax": torch.log_softmax}
_TOLERANCE = 1e-3  # of the largest score; runtimes add up in another order


class OnnxFiles(WithoutPublishedWeights):
    """Files of other tools, converted to torch modules; nothing in them is executed."""

    name = "The ONNX file"

    def names(self) -> list[str]:
        """Files are no list."""
        return []

    def build(self, spec: ModelSpec) -> Built:
        """The converted module with the file's weights.

        Raises:
            DataError: the file cannot be read.
            RequestError: it cannot be converted, or is for another number of classes.
        """
        return Built(converted(spec).module)


def converted(spec: ModelSpec) -> Converted:
    """The file that `spec` names, as `OnnxFiles.build` converts it."""
    given: Mapping[str, Any] = spec.model_kwargs
    if unknown := set(given) - _KEYWORDS:
        raise RequestError(
            f"An ONNX file takes no keyword {sorted(unknown)[0]!r}.",
            where="student.model_kwargs",
            advice=f"It takes {' and '.join(sorted(_KEYWORDS))}.",
        )
    bgr = given.get("channel_order") == "bgr"
    found = convert(Path(spec.model), spec.height, spec.width, output=given.get("output"), bgr=bgr)
    if found.classes != spec.classes:
        raise RequestError(
            f"The ONNX file has {found.classes} classes, and the data have {spec.classes}.",
            where=spec.model,
            advice="Give data with the classes that the model was trained on, in the same order.",
        )
    return found


def agreement(spec: ModelSpec, classifier: Classifier, images: Images) -> str:
    """A sentence on how a classifier, built of the file, agrees with the file on real images.

    Args:
        spec: what the classifier was built from.
        classifier: in evaluation mode, on the CPU.
        images: uint8 [N, H, W, 3], as the data have them.

    Raises:
        DataError: it computes something else than the file.
    """
    found = converted(spec)
    std = 1 / classifier.scale.flatten().numpy()
    mean = -classifier.offset.flatten().numpy() * std
    normalisation = [list(map(float, np.broadcast_to(each, 3))) for each in (mean, std)]
    expected = original(found)(images, (normalisation[0], normalisation[1]), found.bgr)
    with torch.inference_mode():
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        logits = torch.cat([classifier(part)[0] for part in torch.split(pixels, 16)])
        ends_in = _FUNCTIONS[found.head.last] if found.head.last else None
        scores = (ends_in(logits, 1) if ends_in else logits).numpy()
    difference = float(np.abs(scores - expected).max() / max(np.abs(expected).max(), 1e-12))
    same = float((scores.argmax(1) == expected.argmax(1)).mean())
    if not difference <= _TOLERANCE:
        raise DataError(
            f"The converted model does not compute what the ONNX file computes: its scores differ "
            f"by {100 * difference:.2g} % of the largest one, and {100 * same:.0f} % of "
            f"{len(images)} predictions agree.",
            where=spec.model,
            advice="Give the model itself and its weights, or report the file's exporter.",
        )
    softmax = "; the softmax at its end is omitted" if found.head.ends_in_softmax else ""
    return (
        f"The converted model agrees with {found.file.path.name} on {100 * same:.0f} % of "
        f"{len(images)} images; its scores differ by at most {100 * difference:.2g} % of the "
        f"largest one{softmax}."
    )
