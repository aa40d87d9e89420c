"""The stage that ranks layers by what quantizing them costs."""

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
from tmkd_deploy.models.timm_classifier import Classifier
from tmkd_deploy.quantize.insert import quantized_layers, use_quant_scheme_where
from tmkd_deploy.quantize.quantize import post_training_quantized
from tmkd_deploy.recipe.schema import Recipe
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
    """Rank the layers of the calibrated student by what rounding each alone costs.

    A layer is rounded as `insert_quantizers` rounds it: its weight, its input and its output. The
    images are the next ones after the calibration set in the order in which that is drawn, so that
    ranges were found on others; where the training split is small, it begins again.
    """
    rows = _rows(data.labels("train"), recipe)
    images, labels = np.asarray(data.images("train")[rows]), data.labels("train")[rows]
    device = training_device()
    taught = predict(teacher.to(device), images, device)
    classifier = post_training_quantized(recipe, data, student, quant_scheme, events).to(device)
    names = quantized_layers(classifier.network)
    task = events.begin("Quantizing layer by layer", 3 * len(names) + 2, "passes")

    def logits(computes: Callable[[str], bool]) -> Tensor:
        use_quant_scheme_where(classifier.network, quant_scheme, computes)
        task.advance()
        return predict(classifier, images, device)

    def without(excluded_layers: Collection[str]) -> Cost:
        return compare.cost(logits(lambda name: name not in excluded_layers))

    try:
        compare = _Comparison(logits(lambda _: False), taught, torch.from_numpy(labels))
        ranked = [
            LayerSensitivity(
                layer=name.removeprefix("backbone."),
                alone=compare.cost(logits(name.__eq__)),
                without=without({name}),
            )
            for name in names
        ]
        order = sorted(range(len(names)), key=lambda place: -ranked[place].alone.divergence)
        by_count = [
            without({names[place] for place in order[:count]}) for count in range(len(names) + 1)
        ]
    finally:
        task.finish()
    beyond = len(rows) + recipe.quantize.calibration.images - len(data.labels("train"))
    return SensitivityRecord(
        images=len(rows),
        calibrated_on=min(max(beyond, 0), len(rows)),
        quant_scheme=quant_scheme.value,
        excluded_layers=recipe.quantize.exclude_layers,
        top1=compare.top1,
        teacher_divergence=compare.teacher_divergence,
        layers=[ranked[place] for place in order],
        by_count=by_count,
    )


def _rows(labels: npt.NDArray[np.int64], recipe: Recipe) -> npt.NDArray[np.int64]:
    order = class_balanced_order(labels, recipe.seed)
    return np.roll(order, -min(recipe.quantize.calibration.images, len(order)))[:_IMAGES]


class _Comparison:
    """The unquantized student's logits [N, C], those of its teacher, and the labels [N]."""

    def __init__(self, plain: Tensor, taught: Tensor, labels: Tensor) -> None:
        self._plain, self._taught, self._labels = plain, taught, labels
        self.top1 = self._top1(plain)
        self.teacher_divergence = _divergence(taught, plain)

    def cost(self, logits: Tensor) -> Cost:
        """What it costs to answer with `logits` [N, C] instead."""
        return Cost(
            divergence=_divergence(self._plain, logits),
            teacher_divergence=_divergence(self._taught, logits) - self.teacher_divergence,
            points=100 * (self._top1(logits) - self.top1),
            changed=float((logits.argmax(dim=1) != self._plain.argmax(dim=1)).double().mean()),
        )

    def _top1(self, logits: Tensor) -> float:
        return float((logits.argmax(dim=1) == self._labels).double().mean())


def _divergence(from_logits: Tensor, to_logits: Tensor) -> float:
    """KL(softmax(from) || softmax(to)) in nats, averaged over the images of [N, C] logits."""
    p, q = (F.log_softmax(each.double(), dim=1) for each in (from_logits, to_logits))
    return float(F.kl_div(q, p, reduction="batchmean", log_target=True))
