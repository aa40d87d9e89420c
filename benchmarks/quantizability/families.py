"""The student families and their common training schedule."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.evidence.plans import Plan

# in the order of the page: each model, and the prefix of its family's names
PREFIXES = {
    "resnet18": "resnet",
    "resnet10t": "resnet",
    "repvgg_a0": "repvgg",
    "mobileone_s0": "mobileone",
    "mobilenetv4_conv_small": "mobilenetv4_conv",
    "tf_efficientnet_lite0": "tf_efficientnet_lite",
    "mobilenetv3_small_100": "mobilenetv3",
    "fastvit_t8": "fastvit",
    "vit_tiny_patch16_224": "vit_",
}
FAMILIES = tuple(PREFIXES)
# Latency is independent of the weights, so it is measured at realistic sizes, while training uses
# one that is affordable on two cores.
LATENCY_SIZES = (96, 224)
BUILD_SIZE = 96
BUILD_TARGET = "rtx-ada"
CALIBRATION_IMAGES = 128
FINE_TUNING_EPOCHS = 2
FINE_TUNING_RATE = 2e-4

PLAN = Plan(
    size=32,
    epochs=6,
    teacher_epochs=0,
    augment="flip",
    teacher_outputs="live",
    train_images=3000,
    teacher_images=1,
    test_images=4000,
    learning_rate=3e-3,
    weight_decay=0.05,
    batch_size=32,
)
DATA = "fashion-mnist"


@dataclass(frozen=True)
class Paths:
    """The folders of weights and results."""

    work: Path
    results: Path

    def result(self, family: str) -> Path:
        """The result file of one family."""
        return self.results / f"{family}.json"

    def folder(self, family: str, seed: int) -> Path:
        """The folder with the weights of one training."""
        return self.work / f"{family}-seed{seed}"


def arguments(family: str, size: int) -> dict[str, int]:
    """Keyword arguments for timm, for images of `size` pixels."""
    return {"img_size": size} if family.startswith("vit") else {}


def learning_rate(family: str) -> float:
    """The learning rate of a family; smaller for transformers."""
    return 1e-3 if family.startswith("vit") else PLAN.learning_rate
