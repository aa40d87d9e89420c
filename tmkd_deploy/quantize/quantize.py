"""The quantize stage: calibration, then TMKD fine-tuning through fake quantizers."""

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
from tmkd_deploy.quantize.calibration_set import CalibrationSet, draw_calibration_set
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
from tmkd_deploy.quantize.scales import calibrate, require_finite_weights
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.quantization import QuantizationRecord
from tmkd_deploy.training.distributed import training_device
from tmkd_deploy.training.schedule import Schedule
from tmkd_deploy.training.trainer_config import TrainerConfig

_FINE_TUNING = "Fine-tuning through fake quantizers"
_CONTROL = "Fine-tuning without quantizers"
_QUANTIZED_WEIGHTS = "quantized.safetensors"
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
    """Quantize the student by `quant_scheme` and write it into `folder`.

    `calibration.json` lists the calibration images and their hashes. `control.safetensors` is the
    student after the same fine-tuning without quantizers, if `quantize.control` is set.

    Batch norms stay separate during training, have their running statistics frozen in its second
    half, and are folded exactly at the end.

    Raises:
        RequestError: the student cannot be traced, or an excluded layer does not exist.
        DataError: the calibration images or the student's values do not permit quantization.
    """
    settings = recipe.quantize
    control = copy.deepcopy(student.classifier) if settings.control else None
    classifier = student.classifier
    network, calibration_set = _insert_and_calibrate(recipe, data, classifier, quant_scheme, events)
    calibration_set.write_record(folder)
    use_quant_scheme(network, quant_scheme)
    post_training_top1 = top1_of(classifier, data)
    if settings.epochs:
        _fine_tune(
            recipe, data, teachers, student, classifier, _FINE_TUNING, events, trainer_config
        )
    fold_batch_norms(network)
    require_finite_weights(network)
    weights.save(classifier, folder / _QUANTIZED_WEIGHTS)
    use_engine_arithmetic(network, quant_scheme)
    top1 = top1_of(classifier, data)
    events.say(
        f"Quantized, top-1 is {100 * post_training_top1:.1f} % after calibration and "
        f"{100 * top1:.1f} % after fine-tuning."
    )
    control_top1 = None
    if control is not None:
        _to_training_device(control)
        if settings.epochs:
            _fine_tune(recipe, data, teachers, student, control, _CONTROL, events, trainer_config)
        weights.save(control, folder / _CONTROL_WEIGHTS)
        control_top1 = top1_of(control, data)
        events.say(f"Fine-tuned without quantizers, top-1 is {100 * control_top1:.1f} %.")
    layers = quantized_layers(network)
    excluded_layers = [name for name in weighted_layers(network) if name not in layers]
    for name in excluded_layers:
        events.warn(f"Layer {name} stays in floating point: it is in quantize.exclude_layers.")
    return QuantizationRecord(
        layers=[name.removeprefix("backbone.") for name in layers],
        excluded_layers=[name.removeprefix("backbone.") for name in excluded_layers],
        activation_quantizers=len(activation_quantizers(network)),
        quant_scheme=quant_scheme.value,
        calibration_method=_calibration_method(recipe),
        calibration_images=len(calibration_set.keys),
        calibration_sha256=calibration_set.sha256,
        post_training_top1=post_training_top1,
        top1=top1,
        control_top1=control_top1,
    )


def post_training_quantized(
    recipe: Recipe, data: PreparedData, student: Student, quant_scheme: QuantScheme, events: Events
) -> Classifier:
    """The student quantized by calibration without fine-tuning, with folded batch norms."""
    network, _ = _insert_and_calibrate(recipe, data, student.classifier, quant_scheme, events)
    fold_batch_norms(network)
    return student.classifier.eval()


def read_quantized(
    artifact: Artifact[QuantizationRecord], recipe: Recipe, data: PreparedData
) -> Classifier:
    """Load the quantized student with folded batch norms; it computes in float32 so far."""
    classifier = deployed_student(recipe, data)
    fold_batch_norms(insert_quantizers(classifier, artifact.record.excluded_layers))
    weights.load(classifier, artifact.path(_QUANTIZED_WEIGHTS))
    return classifier.eval()


def read_control(
    artifact: Artifact[QuantizationRecord], recipe: Recipe, data: PreparedData
) -> Classifier | None:
    """Load the student fine-tuned without quantizers; None unless `quantize.control` was set."""
    if artifact.record.control_top1 is None:
        return None
    classifier = deployed_student(recipe, data)
    weights.load(classifier, artifact.path(_CONTROL_WEIGHTS))
    return classifier.eval()


def _insert_and_calibrate(
    recipe: Recipe,
    data: PreparedData,
    classifier: Classifier,
    quant_scheme: QuantScheme,
    events: Events,
) -> tuple[fx.GraphModule, CalibrationSet]:
    """Insert quantizers into `classifier` and set their ranges; they are not enabled yet."""
    device = _to_training_device(classifier)
    network = insert_quantizers(classifier, recipe.quantize.exclude_layers)
    require_finite_weights(network)
    calibration_set = draw_calibration_set(recipe, data)
    settings = recipe.quantize.calibration
    calibrate(classifier, calibration_set.images, settings, quant_scheme, device, events)
    return network, calibration_set


def _to_training_device(classifier: Classifier) -> torch.device:
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
    """Distil `classifier`, derived from `student`, further with the same teachers."""
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
            epochs=settings.epochs,
            batch_size=recipe.distill.batch_size,
            learning_rate=settings.learning_rate,
            weight_decay=recipe.distill.weight_decay,
            seed=recipe.seed,
        ),
        device,
        events,
        description,
        trainer_config=trainer_config,
        # the teacher warm-up took place in the distill stage
        epoch_offset=recipe.distill.teacher_warmup_epochs,
        on_epoch=freeze_statistics,
    )


def _calibration_method(recipe: Recipe) -> str:
    settings = recipe.quantize.calibration
    if settings.method == "percentile":
        return f"percentile {settings.percentile:g}"
    return settings.method
