"""The stage that quantizes: calibration, then fine-tuning through fake quantizers by TMKD."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from tmkd_deploy.artifacts import Artifact
from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill.distill import Student, new_student, top1_of, training_images
from tmkd_deploy.distill.student import train_student
from tmkd_deploy.distill.teach import Teachers
from tmkd_deploy.engines.placement import Placement
from tmkd_deploy.errors import DataError
from tmkd_deploy.events import Events, track
from tmkd_deploy.models import weights
from tmkd_deploy.models.classifier import Classifier
from tmkd_deploy.quantize.calibration import Collector
from tmkd_deploy.quantize.facts import QuantizationFacts
from tmkd_deploy.quantize.fold import fold_batch_norms
from tmkd_deploy.quantize.insert import (
    BATCH_NORMS,
    activation_quantizers,
    insert_quantizers,
    quantized_layers,
    use_placement,
    weighted_layers,
)
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.training.batches import to_float
from tmkd_deploy.training.conduct import Conduct
from tmkd_deploy.training.fit import Schedule, training_device

_FEWEST_IMAGES = 32


def quantize(
    recipe: Recipe,
    data: PreparedData,
    teachers: Teachers,
    student: Student,
    placement: Placement,
    folder: Path,
    events: Events,
    conduct: Conduct | None = None,
) -> QuantizationFacts:
    """Quantize the student for the grid of `placement` and write it into `folder`.

    The batch norms stay apart while training, keep their statistics from half-way on, and are
    folded exactly at the end. One training serves every placement: only the grid of the
    activations differs.
    """
    settings = recipe.quantize
    device = training_device()
    classifier = student.classifier.to(device).to(memory_format=torch.channels_last)
    network = insert_quantizers(classifier, settings.leave_out)
    chosen = _calibration_images(recipe, data)
    _calibrate(classifier, chosen, recipe, device, events)
    use_placement(network, placement)
    before = top1_of(classifier, data)
    if settings.epochs:
        _fine_tune(recipe, data, teachers, student, events, conduct)
    fold_batch_norms(network)
    use_placement(network, placement)
    weights.save(classifier, folder / "quantized.safetensors")
    after = top1_of(classifier, data)
    events.say(
        f"Quantized top-1 is {100 * before:.1f} % after calibration and {100 * after:.1f} % "
        "after fine-tuning."
    )
    layers = quantized_layers(network)
    left_out = [name for name in weighted_layers(network) if name not in layers]
    for name in left_out:
        events.warn(f"The layer {name} stays in floating point, as the recipe asks.")
    return QuantizationFacts(
        layers=[name.removeprefix("backbone.") for name in layers],
        left_out=[name.removeprefix("backbone.") for name in left_out],
        activation_quantizers=len(activation_quantizers(network)),
        placement=placement.value,
        calibration_method=_method(recipe),
        calibration_images=len(chosen),
        calibration_sha256=hashlib.sha256(chosen.tobytes()).hexdigest(),
        post_training_top1=before,
        top1=after,
    )


def read_quantized(
    artifact: Artifact[QuantizationFacts], recipe: Recipe, data: PreparedData
) -> Classifier:
    """The quantized student, its batch norms folded; choose a grid with `use_placement`."""
    classifier, _ = new_student(recipe, data)
    fold_batch_norms(insert_quantizers(classifier, recipe.quantize.leave_out))
    weights.load(classifier, artifact.path("quantized.safetensors"))
    return classifier.eval()


def _calibration_images(recipe: Recipe, data: PreparedData) -> np.ndarray:
    """Training images drawn with the recipe's seed, uint8 [n, H, W, 3]."""
    images = data.images("train")
    if len(images) < _FEWEST_IMAGES:
        raise DataError(
            f"Calibration needs at least {_FEWEST_IMAGES} training images, "
            f"and there are {len(images)}.",
            advice="Add training images, or set quantize.enabled to false.",
        )
    random = np.random.default_rng(recipe.seed)
    count = min(recipe.quantize.calibration.images, len(images))
    return np.asarray(images[np.sort(random.permutation(len(images))[:count])])


def _calibrate(
    classifier: Classifier, images: np.ndarray, recipe: Recipe, device: torch.device, events: Events
) -> None:
    settings = recipe.quantize.calibration
    quantizers = activation_quantizers(classifier.network)
    collectors = {name: Collector() for name in quantizers}
    for name, quantizer in quantizers.items():
        quantizer.collector = collectors[name]
    classifier.eval()
    starts = range(0, len(images), 32)
    with torch.inference_mode():
        for start in track(events, starts, "Calibrating", len(starts), "batches"):
            classifier(to_float(images[start : start + 32], None, device))
    for name, quantizer in quantizers.items():
        collector = collectors[name]
        amax = collector.amax(settings.method, settings.percentile)
        if not np.isfinite(amax) or amax <= 0.0:
            raise DataError(
                f"Calibration saw only the value {amax} in the tensor {name!r}.",
                advice="Check that the training images differ from one another, "
                "and that the student was trained.",
            )
        quantizer.amax.fill_(amax)
        quantizer.non_negative.fill_(collector.smallest >= 0.0)
        quantizer.collector = None


def _fine_tune(
    recipe: Recipe,
    data: PreparedData,
    teachers: Teachers,
    student: Student,
    events: Events,
    conduct: Conduct | None,
) -> None:
    settings = recipe.quantize
    device = training_device()
    classifier = student.classifier

    def freeze_statistics(epoch: int) -> None:
        if 2 * epoch >= settings.epochs - 1:
            for module in classifier.modules():
                if isinstance(module, BATCH_NORMS):
                    module.eval()

    train_student(
        classifier,
        student.loss(recipe, teachers).to(device),
        training_images(recipe, data),
        student.signals(recipe, data, teachers),
        Schedule(
            settings.epochs,
            recipe.distill.batch_size,
            settings.learning_rate,
            recipe.distill.weight_decay,
            recipe.seed,
        ),
        device,
        events,
        "Fine-tuning through fake quantizers",
        conduct=conduct,
        # the terms' ramp belongs to the first training, so it is over
        epochs_before=recipe.distill.teacher_ramp,
        in_epoch=freeze_statistics,
    )


def _method(recipe: Recipe) -> str:
    settings = recipe.quantize.calibration
    if settings.method == "percentile":
        return f"percentile {settings.percentile:g}"
    return settings.method
