"""The sensitivity stage: ranking layers by the cost of quantizing them."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from tmkd_deploy.data.class_balanced import class_balanced_order
from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill.distill import Student
from tmkd_deploy.events import Events
from tmkd_deploy.models.classifier import Classifier
from tmkd_deploy.quantize.insert import quantized_layers, use_quant_scheme_where
from tmkd_deploy.quantize.quantize import post_training_quantized
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.layer_names import user_name
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.quantization import Cost, LayerSensitivity, SensitivityRecord
from tmkd_deploy.training.distributed import training_device
from tmkd_deploy.training.predict import predict

_IMAGES = 256


def rank_layers(
    recipe: Recipe,
    data: PreparedData,
    teacher: Classifier,
    student: Student,
    quant_scheme: QuantScheme,
    events: Events,
) -> SensitivityRecord:
    """Rank the layers of the calibrated student by the cost of quantizing only one of them.

    Quantizing a layer quantizes its weight, input and output, as `insert_quantizers` does. The
    images follow those of the calibration set in the class-balanced order, so that costs and ranges
    come from different images; a small training split wraps around.
    """
    rows = _rows(data.labels("train"), recipe)
    images, labels = np.asarray(data.images("train")[rows]), data.labels("train")[rows]
    device = training_device()
    teacher_logits = predict(teacher.to(device), images, device)
    classifier = post_training_quantized(recipe, data, student, quant_scheme, events).to(device)
    names = quantized_layers(classifier.network)
    task = events.begin("Quantizing layer by layer", 3 * len(names) + 2, "passes")

    def logits(is_quantized: Callable[[str], bool]) -> Tensor:
        use_quant_scheme_where(classifier.network, quant_scheme, is_quantized)
        task.advance()
        return predict(classifier, images, device)

    def without(excluded_layers: Collection[str]) -> Cost:
        return compare.cost(logits(lambda name: name not in excluded_layers))

    try:
        compare = _Comparison(logits(lambda _: False), teacher_logits, torch.from_numpy(labels))
        ranked = [
            LayerSensitivity(
                layer=user_name(name),
                alone=compare.cost(logits(name.__eq__)),
                without=without({name}),
            )
            for name in names
        ]
        order = sorted(range(len(names)), key=lambda index: -ranked[index].alone.divergence)
        by_count = [
            without({names[index] for index in order[:count]}) for count in range(len(names) + 1)
        ]
    finally:
        task.finish()
    reused = len(rows) + recipe.quantize.calibration.images - len(data.labels("train"))
    return SensitivityRecord(
        images=len(rows),
        calibrated_on=min(max(reused, 0), len(rows)),
        quant_scheme=quant_scheme.value,
        excluded_layers=recipe.quantize.exclude_layers,
        top1=compare.top1,
        teacher_divergence=compare.teacher_divergence,
        layers=[ranked[index] for index in order],
        by_count=by_count,
    )


def _rows(labels: npt.NDArray[np.int64], recipe: Recipe) -> npt.NDArray[np.int64]:
    order = class_balanced_order(labels, recipe.seed)
    return np.roll(order, -min(recipe.quantize.calibration.images, len(order)))[:_IMAGES]


class _Comparison:
    """Compares logits with the unquantized student's and the teacher's [N, C], and labels [N]."""

    def __init__(self, reference: Tensor, teacher: Tensor, labels: Tensor) -> None:
        self._reference, self._teacher, self._labels = reference, teacher, labels
        self.top1 = self._top1(reference)
        self.teacher_divergence = _divergence(teacher, reference)

    def cost(self, logits: Tensor) -> Cost:
        """The cost of the logits [N, C] of a quantized student."""
        return Cost(
            divergence=_divergence(self._reference, logits),
            teacher_divergence=_divergence(self._teacher, logits) - self.teacher_divergence,
            points=100 * (self._top1(logits) - self.top1),
            changed=float((logits.argmax(dim=1) != self._reference.argmax(dim=1)).double().mean()),
        )

    def _top1(self, logits: Tensor) -> float:
        return float((logits.argmax(dim=1) == self._labels).double().mean())


def _divergence(from_logits: Tensor, to_logits: Tensor) -> float:
    """KL(softmax(from) || softmax(to)) in nats, averaged over the images of [N, C] logits."""
    p, q = (F.log_softmax(each.double(), dim=1) for each in (from_logits, to_logits))
    return float(F.kl_div(q, p, reduction="batchmean", log_target=True))
