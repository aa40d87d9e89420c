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
    Paths,
    arguments,
    learning_rate,
)
from tmkd_deploy.distill.losses.total import StudentLoss
from tmkd_deploy.distill.student import train_student
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.models import weights
from tmkd_deploy.models.checkpoint_file import read_checkpoint
from tmkd_deploy.models.classifier import Classifier, create, merge_branches
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
SILENT = SilentEvents()
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


def train(paths: Paths, family: str, seed: int) -> str:
    """Train one student, then quantize it, and keep the weights of both; say what is there."""
    folder, trained = paths.folder(family, seed), f"{family} with seed {seed}"
    if (folder / "quantized.safetensors").exists():
        return trained
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "student.safetensors").exists():
        torch.manual_seed(seed)
        classifier = new(family, PLAN.size)
        _fit(classifier, seed, PLAN.epochs, learning_rate(family))
        weights.save(classifier, folder / "student.safetensors")
    classifier = student(paths, family, seed)
    network = quantizable(classifier, calibration_images())
    use_quant_scheme(network, GRID)
    np.save(folder / "calibrated.npy", predict(classifier, data().test.images, CPU).numpy())
    _fit(classifier, seed, FINE_TUNING_EPOCHS, FINE_TUNING_RATE, network)
    fold_batch_norms(network)
    weights.save(classifier, folder / "quantized.safetensors")
    return trained


def student(paths: Paths, family: str, seed: int, size: int = PLAN.size) -> Classifier:
    """Load a trained student with merged branches, for images of `size` pixels.

    Weights that depend on the size, such as a ViT's position embeddings, stay random if the size
    differs from that of the training.
    """
    classifier = new(family, size)
    saved = read_checkpoint(paths.folder(family, seed) / "student.safetensors")
    expected = classifier.state_dict()
    state: dict[str, Tensor] = {
        name: tensor if tensor.shape == expected[name].shape else expected[name]
        for name, tensor in saved.items()
    }
    classifier.load_state_dict(state)
    return merge_branches(classifier)


def quantized(paths: Paths, family: str, seed: int) -> Classifier:
    """Load the student fine-tuned through fake quantizers, with ONNX Runtime's arithmetic."""
    classifier = merge_branches(new(family, PLAN.size))
    network = insert_quantizers(classifier)
    fold_batch_norms(network)
    weights.load(classifier, paths.folder(family, seed) / "quantized.safetensors")
    use_engine_arithmetic(network, GRID)
    return classifier.eval()


def quantizable(classifier: Classifier, images: np.ndarray) -> fx.GraphModule:
    """Insert quantizers and calibrate them on `images`, uint8 [n, S, S, 3]."""
    network = insert_quantizers(classifier)
    calibrate(classifier, images, Calibration(), GRID, CPU, SILENT)
    return network


def _fit(
    classifier: Classifier,
    seed: int,
    epochs: int,
    rate: float,
    quantized_network: fx.GraphModule | None = None,
) -> None:
    """Train on the labels; freeze a quantized network's batch norms in the second half."""

    def freeze_statistics(epoch: int) -> None:
        if quantized_network is not None and 2 * epoch >= epochs - 1:
            for module in quantized_network.modules():
                if isinstance(module, BATCH_NORMS):
                    module.eval()

    train_student(
        classifier.to(memory_format=torch.channels_last),
        # without teacher outputs its projections are unused
        StudentLoss(Distill(), 1, 1, torch.zeros(1, 1)),
        TrainingImages(
            data().train.images,
            torch.from_numpy(data().train.labels),
            PLAN.augment,
            PLAN.max_augmentations,
        ),
        None,
        Schedule(epochs, PLAN.batch_size, rate, PLAN.weight_decay, seed),
        CPU,
        SILENT,
        "Training a student",
        on_epoch=freeze_statistics,
    )
