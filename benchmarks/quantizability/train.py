"""Training a family on labels alone, then fine-tuning it through fake quantizers."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, fx

from benchmarks.evidence.sets import DataSet, read
from benchmarks.quantizability.families import (
    CALIBRATION_IMAGES,
    DATA,
    FINE_TUNING_EPOCHS,
    FINE_TUNING_RATE,
    PLAN,
    Place,
    arguments,
    learning_rate,
)
from tmkd_deploy.distill.losses.total import StudentLoss
from tmkd_deploy.distill.student import train_student
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.models import weights
from tmkd_deploy.models.timm_classifier import Classifier, create, merge_branches
from tmkd_deploy.quantize.engine_arithmetic import use_engine_arithmetic
from tmkd_deploy.quantize.fold import fold_batch_norms
from tmkd_deploy.quantize.insert import BATCH_NORMS, insert_quantizers, use_quant_scheme
from tmkd_deploy.quantize.scales import calibrate
from tmkd_deploy.recipe.schema import Calibration, Distill
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.training.batches import TrainingImages
from tmkd_deploy.training.predict import predict
from tmkd_deploy.training.schedule import Schedule

CPU = torch.device("cpu")
QUIET = SilentEvents()
GRID = QuantScheme.U8


@functools.cache
def data() -> DataSet:
    """The images that every family learns from and is tested on."""
    return read(DATA, Path(), PLAN)


def calibration_images() -> np.ndarray:
    """Training images, uint8 [n, S, S, 3], spread over the split."""
    images = data().train.images
    return images[:: len(images) // CALIBRATION_IMAGES][:CALIBRATION_IMAGES]


def new(family: str, size: int) -> Classifier:
    """The family with random weights."""
    classes = len(data().class_names)
    return create(family, classes, arguments(family, size), size, scratch=True)[0]


def train(place: Place, family: str, seed: int) -> str:
    """Train one student, then quantize it, and keep the weights of both; say what is there."""
    folder, trained = place.folder(family, seed), f"{family} with seed {seed}"
    if (folder / "quantized.safetensors").exists():
        return trained
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "student.safetensors").exists():
        torch.manual_seed(seed)
        classifier = new(family, PLAN.size)
        _fit(classifier, seed, PLAN.epochs, learning_rate(family))
        weights.save(classifier, folder / "student.safetensors")
    classifier = student(place, family, seed)
    network = quantizable(classifier, calibration_images())
    use_quant_scheme(network, GRID)
    np.save(folder / "calibrated.npy", predict(classifier, data().test.images, CPU).numpy())
    _fit(classifier, seed, FINE_TUNING_EPOCHS, FINE_TUNING_RATE, network)
    fold_batch_norms(network)
    weights.save(classifier, folder / "quantized.safetensors")
    return trained


def student(place: Place, family: str, seed: int, size: int = PLAN.size) -> Classifier:
    """A trained student, its branches merged, for images of `size` pixels.

    What depends on the size, a ViT's table of positions, is random at another size than that of
    the training.
    """
    classifier = new(family, size)
    kept = weights.read_checkpoint(place.folder(family, seed) / "student.safetensors")
    own = classifier.state_dict()
    fitting: dict[str, Tensor] = {
        name: tensor if tensor.shape == own[name].shape else own[name]
        for name, tensor in kept.items()
    }
    classifier.load_state_dict(fitting)
    return merge_branches(classifier)


def quantized(place: Place, family: str, seed: int) -> Classifier:
    """The student after fine-tuning through fake quantizers, on the grid of ONNX Runtime."""
    classifier = merge_branches(new(family, PLAN.size))
    network = insert_quantizers(classifier)
    fold_batch_norms(network)
    weights.load(classifier, place.folder(family, seed) / "quantized.safetensors")
    use_engine_arithmetic(network, GRID)
    return classifier.eval()


def quantizable(classifier: Classifier, images: np.ndarray) -> fx.GraphModule:
    """Insert quantizers and find their ranges on `images`, uint8 [n, S, S, 3]."""
    network = insert_quantizers(classifier)
    calibrate(classifier, images, Calibration(), GRID, CPU, QUIET)
    return network


def _fit(
    classifier: Classifier,
    seed: int,
    epochs: int,
    rate: float,
    quantized_network: fx.GraphModule | None = None,
) -> None:
    """Learn from the labels; a quantized network's batch norms are frozen half-way."""

    def freeze_statistics(epoch: int) -> None:
        if quantized_network is not None and 2 * epoch >= epochs - 1:
            for module in quantized_network.modules():
                if isinstance(module, BATCH_NORMS):
                    module.eval()

    train_student(
        classifier.to(memory_format=torch.channels_last),
        # without a teacher's signals its projections are not used
        StudentLoss(Distill(), 1, 1, torch.zeros(1, 1)),
        TrainingImages(
            data().train.images, torch.from_numpy(data().train.labels), PLAN.augment, PLAN.variants
        ),
        None,
        Schedule(epochs, PLAN.batch_size, rate, PLAN.weight_decay, seed),
        CPU,
        QUIET,
        "Training a student",
        on_epoch=freeze_statistics,
    )
