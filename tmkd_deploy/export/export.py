"""The export stage: write one variant of a model to ONNX and check it against torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.engines.model_file import opset_of
from tmkd_deploy.errors import EnvironmentProblem
from tmkd_deploy.events import Events
from tmkd_deploy.export.fp16 import OLDEST_TYPED, to_fp16
from tmkd_deploy.export.fp16_overflow import LARGEST, first_overflow
from tmkd_deploy.export.reference import reference_logits
from tmkd_deploy.export.torch_to_onnx import count_quantized, to_onnx
from tmkd_deploy.models.classifier import Classifier
from tmkd_deploy.quantize.engine_arithmetic import use_engine_arithmetic
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.onnx_model import MODEL, MODULE, QUANT_SCHEME, OnnxRecord, Variant
from tmkd_deploy.runtime.onnx_metadata import PRECISION
from tmkd_deploy.training.predict import predict

# the largest allowed difference relative to the largest logit: with eight bits, a value half-way
# between two steps may be rounded either way, and one step moves a logit visibly; the file of a
# BF16 engine is in FP32
_TOLERANCE = {"fp32": 1e-3, "bf16": 1e-3, "fp16": 3e-2, "int8": 0.15}


def export(
    recipe: Recipe,
    data: PreparedData,
    classifier: Classifier,
    variant: Variant,
    folder: Path,
    events: Events,
) -> OnnxRecord:
    """Write `model.onnx` into `folder` and check that it computes the same as torch.

    Raises:
        EnvironmentProblem: the logits differ by more than the tolerance.
    """
    use_engine_arithmetic(classifier.network, variant.quant_scheme)
    opset = variant.opset or recipe.export.opset
    in_fp16 = variant.precision == "fp16" or variant.float_precision == "fp16"
    if in_fp16:
        opset = max(opset, OLDEST_TYPED)
    proto = to_onnx(classifier, recipe.data.image_size, opset, variant.float_weights)
    if in_fp16:
        proto = to_fp16(proto)
    _tag(proto, variant)
    onnx.save(proto, folder / MODEL)
    images = np.asarray(data.images("val")[: recipe.export.parity_images])
    difference, agreement = _parity(folder / MODEL, classifier, images)
    overflowing = first_overflow(proto, images) if in_fp16 else None
    if overflowing is not None:
        events.warn(
            f"Exported {variant.name}: the output of {_module_of(overflowing)} exceeds "
            f"{LARGEST:,}, the largest finite value in FP16, so engines built from this file may "
            "return no usable logits."
        )
    # where this processor computes in FP16, as a GPU does, an overflow is no mistake of the export
    overflowed = overflowing is not None and not np.isfinite(difference)
    if not difference <= _TOLERANCE[variant.precision] and not overflowed:
        raise EnvironmentProblem(
            f"The exported {variant.name} model does not match torch: its logits differ by "
            f"{100 * difference:.2g} % of the largest logit, and at most "
            f"{100 * _TOLERANCE[variant.precision]:g} % is allowed.",
            advice="Try another student or opset, or report this model with your versions of torch "
            "and onnx.",
        )
    if not overflowed:
        events.say(
            f"Exported {variant.name}: logits differ from torch's by at most "
            f"{100 * difference:.2g} % of the largest logit, and {100 * agreement:.0f} % of "
            f"{len(images)} predictions agree."
        )
    return OnnxRecord(
        variant=variant.name,
        opset=opset_of(proto),
        bytes=(folder / MODEL).stat().st_size,
        largest_difference=difference if np.isfinite(difference) else None,
        agreement=agreement,
        parity_images=len(images),
        **count_quantized(proto),
    )


def _parity(model: Path, classifier: Classifier, images: np.ndarray) -> tuple[float, float]:
    expected = predict(classifier, images, torch.device("cpu")).numpy()
    found = reference_logits(model, images)
    difference = float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))
    agreement = float((found.argmax(axis=1) == expected.argmax(axis=1)).mean())
    return difference, agreement


def _module_of(node: onnx.NodeProto) -> str:
    metadata: dict[str, str] = {entry.key: entry.value for entry in node.metadata_props}
    return metadata.get(MODULE, str(node.name))


def _tag(proto: onnx.ModelProto, variant: Variant) -> None:
    """Record the variant in the file, so that a builder can refuse another target's file."""
    metadata = {
        "tmkd_deploy.model": variant.model,
        PRECISION: variant.precision,
        QUANT_SCHEME: variant.quant_scheme.value if variant.quant_scheme else "none",
    }
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
