"""The stage that quantizes: calibration, then fine-tuning through fake quantizers by TMKD."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import fx

from tmkd_deploy.artifacts import Artifact
from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill.distill import Student, deployed_student, top1_of, training_images
from tmkd_deploy.distill.student import train_student
from tmkd_deploy.distill.train_teacher import Teachers
from tmkd_deploy.events import Events
from tmkd_deploy.models import weights
from tmkd_deploy.models.timm_classifier import Classifier
from tmkd_deploy.quantize.calibration_set import CalibrationSet, draw
from tmkd_deploy.quantize.engine_arithmetic import use_engine_arithmetic
from tmkd_deploy.quantize.fold import fold_batch_norms
from tmkd_deploy.quantize.insert import (
    BATCH_NORMS,
    activation_quantizers,
    insert_quantizers,
    quantized_layers,
    use_quant_scheme,
    weighted_layers,
)
from tmkd_deploy.quantize.scales import calibrate, refuse_weights
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.quantization import QuantizationRecord
from tmkd_deploy.training.distributed import training_device
from tmkd_deploy.training.schedule import Schedule
from tmkd_deploy.training.trainer_config import TrainerConfig

_QUANTIZED = "Fine-tuning through fake quantizers"
_CONTROL = "Fine-tuning without quantizers"
_CONTROL_WEIGHTS = "control.safetensors"


def quantize(
    recipe: Recipe,
    data: PreparedData,
    teachers: Teachers,
    student: Student,
    quant_scheme: QuantScheme,
    folder: Path,
    events: Events,
    trainer_config: TrainerConfig | None = None,
) -> QuantizationRecord:
    """Quantize the student for the grid of `placement` and write it into `folder`.

    `calibration.json` beside the weights names the calibration images and their hashes;
    `control.safetensors` is the student fine-tuned on without quantizers, where it is asked for.

    The batch norms stay apart while training, keep their statistics from half-way on, and are
    folded exactly at the end. One training serves every placement: only the grid of the
    activations differs.
    """
    settings = recipe.quantize
    plain = copy.deepcopy(student.classifier) if settings.control else None
    classifier = student.classifier
    network, chosen = _calibrated(recipe, data, classifier, quant_scheme, events)
    chosen.record(folder)
    use_quant_scheme(network, quant_scheme)
    before = top1_of(classifier, data)
    if settings.epochs:
        _fine_tune(recipe, data, teachers, student, classifier, _QUANTIZED, events, trainer_config)
    fold_batch_norms(network)
    refuse_weights(network)
    weights.save(classifier, folder / "quantized.safetensors")
    use_engine_arithmetic(network, quant_scheme)
    after = top1_of(classifier, data)
    events.say(
        f"Quantized top-1 is {100 * before:.1f} % after calibration and {100 * after:.1f} % "
        "after fine-tuning."
    )
    control_top1 = None
    if plain is not None:
        _ready(plain)
        if settings.epochs:
            _fine_tune(recipe, data, teachers, student, plain, _CONTROL, events, trainer_config)
        weights.save(plain, folder / _CONTROL_WEIGHTS)
        control_top1 = top1_of(plain, data)
        events.say(f"Fine-tuned on without quantizers it is {100 * control_top1:.1f} %.")
    layers = quantized_layers(network)
    excluded_layers = [name for name in weighted_layers(network) if name not in layers]
    for name in excluded_layers:
        events.warn(f"The layer {name} stays in floating point, as the recipe asks.")
    return QuantizationRecord(
        layers=[name.removeprefix("backbone.") for name in layers],
        excluded_layers=[name.removeprefix("backbone.") for name in excluded_layers],
        activation_quantizers=len(activation_quantizers(network)),
        quant_scheme=quant_scheme.value,
        calibration_method=_method(recipe),
        calibration_images=len(chosen.keys),
        calibration_sha256=chosen.sha256,
        post_training_top1=before,
        top1=after,
        control_top1=control_top1,
    )


def post_training_quantized(
    recipe: Recipe, data: PreparedData, student: Student, quant_scheme: QuantScheme, events: Events
) -> Classifier:
    """The student quantized by calibration alone, its batch norms folded."""
    network, _ = _calibrated(recipe, data, student.classifier, quant_scheme, events)
    fold_batch_norms(network)
    return student.classifier.eval()


def read_quantized(
    artifact: Artifact[QuantizationRecord], recipe: Recipe, data: PreparedData
) -> Classifier:
    """The quantized student, its batch norms folded; choose a grid with `use_engine_arithmetic`."""
    classifier = deployed_student(recipe, data)
    fold_batch_norms(insert_quantizers(classifier, artifact.record.excluded_layers))
    weights.load(classifier, artifact.path("quantized.safetensors"))
    return classifier.eval()


def read_control(
    artifact: Artifact[QuantizationRecord], recipe: Recipe, data: PreparedData
) -> Classifier | None:
    """The student fine-tuned on without quantizers, where the recipe asked for it."""
    if artifact.record.control_top1 is None:
        return None
    classifier = deployed_student(recipe, data)
    weights.load(classifier, artifact.path(_CONTROL_WEIGHTS))
    return classifier.eval()


def _calibrated(
    recipe: Recipe,
    data: PreparedData,
    classifier: Classifier,
    quant_scheme: QuantScheme,
    events: Events,
) -> tuple[fx.GraphModule, CalibrationSet]:
    """Insert quantizers into `classifier` and find their ranges; nothing is rounded yet."""
    device = _ready(classifier)
    network = insert_quantizers(classifier, recipe.quantize.exclude_layers)
    refuse_weights(network)
    chosen = draw(recipe, data)
    settings = recipe.quantize.calibration
    calibrate(classifier, chosen.images, settings, quant_scheme, device, events)
    return network, chosen


def _ready(classifier: Classifier) -> torch.device:
    device = training_device()
    classifier.to(device).to(memory_format=torch.channels_last)
    return device


def _fine_tune(
    recipe: Recipe,
    data: PreparedData,
    teachers: Teachers,
    student: Student,
    classifier: Classifier,
    description: str,
    events: Events,
    trainer_config: TrainerConfig | None,
) -> None:
    """Distil `classifier`, made from `student`, further with the signals of the same teachers."""
    settings = recipe.quantize
    device = training_device()

    def freeze_statistics(epoch: int) -> None:
        if 2 * epoch >= settings.epochs - 1:
            for module in classifier.modules():
                if isinstance(module, BATCH_NORMS):
                    module.eval()

    train_student(
        classifier,
        student.loss(recipe, teachers).to(device),
        training_images(recipe, data),
        student.teacher_outputs(recipe, data, teachers),
        Schedule(
            settings.epochs,
            recipe.distill.batch_size,
            settings.learning_rate,
            recipe.distill.weight_decay,
            recipe.seed,
        ),
        device,
        events,
        description,
        trainer_config=trainer_config,
        # the terms' ramp belongs to the first training, so it is over
        epoch_offset=recipe.distill.teacher_warmup_epochs,
        on_epoch=freeze_statistics,
    )


def _method(recipe: Recipe) -> str:
    settings = recipe.quantize.calibration
    if settings.method == "percentile":
        return f"percentile {settings.percentile:g}"
    return settings.method
