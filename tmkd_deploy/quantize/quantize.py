"""The quantize stage: calibration, then TMKD fine-tuning through fake quantizers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import fx

from tmkd_deploy.artifacts import Artifact
from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill.candidates import Step, Validated, gain_over, validate
from tmkd_deploy.distill.distill import Student, deployed_student, training_images
from tmkd_deploy.distill.student import train_student
from tmkd_deploy.distill.train_teacher import Teachers
from tmkd_deploy.events import Events
from tmkd_deploy.models import weights
from tmkd_deploy.models.classifier import Classifier
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
from tmkd_deploy.records.candidates import Gain
from tmkd_deploy.records.layer_names import user_name
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.quantization import QuantizationRecord, QuantizedName
from tmkd_deploy.training.distributed import training_device
from tmkd_deploy.training.schedule import Schedule
from tmkd_deploy.training.trainer_config import TrainerConfig

_QUANTIZATION: Step[QuantizedName] = Step(
    "Fine-tuning", "calibrated", "fine_tuned", "quantize.ship", over=" over calibration alone"
)
_LABELS = {"calibrated": "calibrated", "fine_tuned": "fine-tuned"}
_FINE_TUNING = "Fine-tuning through fake quantizers"
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
    """Quantize the student by `quant_scheme` and write it into `folder`.

    `calibration.json` lists the calibration images and their hashes. `control.safetensors` is the
    student after the same fine-tuning without quantizers, if `quantize.control` is set.

    Batch norms stay separate during training, have their running statistics frozen in its second
    half, and are folded exactly at the end. Both the student that was calibrated only and the one
    that was then fine-tuned are written; the latter ships unless it lost beyond chance, or the
    recipe insists.

    Raises:
        RequestError: the student cannot be traced, or an excluded layer does not exist.
        DataError: the calibration images or the student's values do not permit quantization, or a
            quantized student's logits are not finite.
    """
    settings = recipe.quantize
    control = copy.deepcopy(student.classifier) if settings.control else None
    classifier = student.classifier
    network, calibration_set = _insert_and_calibrate(recipe, data, classifier, quant_scheme, events)
    calibration_set.write_record(folder)
    layers, count = quantized_layers(network), len(activation_quantizers(network))
    excluded_layers = [name for name in weighted_layers(network) if name not in layers]

    def finished(classifier: Classifier, name: QuantizedName) -> Validated:
        _finish(classifier, quant_scheme, folder / _weights_of(name))
        return validate(classifier, data, f"the {_LABELS[name]} student")

    found: dict[QuantizedName, Validated] = {}
    fine_tuned = copy.deepcopy(classifier) if settings.epochs else None
    found["calibrated"] = finished(classifier, "calibrated")
    if fine_tuned is not None:
        use_quant_scheme(fine_tuned.network, quant_scheme)
        _fine_tune(
            recipe, data, teachers, student, fine_tuned, _FINE_TUNING, events, trainer_config
        )
        found["fine_tuned"] = finished(fine_tuned, "fine_tuned")
    control_top1 = None
    if control is not None:
        _to_training_device(control)
        if settings.epochs:
            _fine_tune(recipe, data, teachers, student, control, _CONTROL, events, trainer_config)
        weights.save(control, folder / _CONTROL_WEIGHTS)
        control_top1 = validate(control, data, "the control student").candidate.top1
        events.say(f"Fine-tuned without quantizers, top-1 is {100 * control_top1:.1f} %.")
    for name in excluded_layers:
        events.warn(f"Layer {name} stays in floating point: it is in quantize.exclude_layers.")
    ships, choice, gain = _choose(recipe, found)
    events.say(choice)
    return QuantizationRecord(
        layers=list(map(user_name, layers)),
        excluded_layers=list(map(user_name, excluded_layers)),
        activation_quantizers=count,
        quant_scheme=quant_scheme.value,
        calibration_method=_calibration_method(recipe),
        calibration_images=len(calibration_set.keys),
        calibration_sha256=calibration_set.sha256,
        candidates={name: each.candidate for name, each in found.items()},
        ships=ships,
        choice=choice,
        gain=gain,
        control_top1=control_top1,
    )


def _finish(classifier: Classifier, quant_scheme: QuantScheme, file: Path) -> None:
    """Fold the batch norms, write the weights, and compute as engines do from now on."""
    network = classifier.network
    assert isinstance(network, fx.GraphModule)  # since the quantizers were inserted
    fold_batch_norms(network)
    require_finite_weights(network)
    weights.save(classifier, file)
    use_engine_arithmetic(network, quant_scheme)


def _choose(
    recipe: Recipe, found: Mapping[QuantizedName, Validated]
) -> tuple[QuantizedName, str, Gain | None]:
    """The candidate that ships, why in one sentence, and the gain of fine-tuning."""
    if "fine_tuned" not in found:
        return "calibrated", "The student is calibrated only: quantize.epochs is 0.", None
    gain = gain_over(found["calibrated"], found["fine_tuned"])
    return *_QUANTIZATION.choose(gain, recipe.quantize.ship), gain


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
    weights.load(classifier, artifact.path(_weights_of(artifact.record.ships)))
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
        student.loss(recipe, data, teachers).to(device),
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
        # low precision would round activations to other levels than the engine's
        trainer_config=trainer_config and replace(trainer_config, precision="float32"),
        # the teacher warm-up took place in the distill stage
        epoch_offset=recipe.distill.teacher_warmup_epochs,
        on_epoch=freeze_statistics,
    )


def _weights_of(name: QuantizedName) -> str:
    return f"{name}.safetensors"


def _calibration_method(recipe: Recipe) -> str:
    settings = recipe.quantize.calibration
    if settings.method == "percentile":
        return f"percentile {settings.percentile:g}"
    return settings.method
