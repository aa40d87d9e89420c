"""Validation at the end of epochs: the weights that are kept, early stopping and averages."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from tmkd_deploy.events import SilentEvents
from tmkd_deploy.training.best_epoch import Validation
from tmkd_deploy.training.checkpoint import Checkpoints
from tmkd_deploy.training.fit import fit
from tmkd_deploy.training.schedule import Schedule
from tmkd_deploy.training.trainer_config import TrainerConfig

IMAGES = 40  # of 40 shades; the darker half is class 0


@dataclass(frozen=True)
class Settings:
    keep: str = "auto"
    patience: int | None = None
    ema_decay: float | None = None


class Threshold(torch.nn.Module):
    """Calls an image bright if it is brighter than `threshold`."""

    def __init__(self):
        super().__init__()
        self.threshold = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
        self.trained = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        excess = images.mean(dim=(1, 2, 3)) - self.threshold
        return torch.stack([-excess, excess], dim=1), images.mean(dim=(2, 3))


def shades():
    values = np.linspace(0, 255, IMAGES).round().astype(np.uint8)
    return np.broadcast_to(values[:, None, None, None], (IMAGES, 4, 4, 3)).copy()


LABELS = (np.arange(IMAGES) >= IMAGES // 2).astype(np.int64)


def follow(path, settings, images=200):
    """Train a threshold that lies at `path[epoch]` in each epoch: its curve and where it ends."""
    model = Threshold()

    def loss_of(step):
        model.threshold.fill_(path[step.epoch])
        return 0.0 * model.trained.sum() + step.epoch

    curve = fit(
        model.parameters(),
        images,
        Schedule(len(path), 50, 0.1, 0.0, 0),
        loss_of,
        SilentEvents(),
        "Test",
        modules=[model],
        validation=Validation(model, shades(), LABELS, settings),
    )
    return curve, round(float(model.threshold), 4)


# right are 38 of 40, all, 39 and, in the last epoch, 24
SLIGHTLY_WORSE = [0.55, 0.5, 0.52]
MUCH_WORSE = [0.55, 0.5, 0.52, 0.9]


@pytest.mark.parametrize(
    ("keep", "path", "kept"),
    [
        ("last", MUCH_WORSE, 4),
        ("best", MUCH_WORSE, 2),
        ("auto", MUCH_WORSE, 2),
        ("last", SLIGHTLY_WORSE, 3),
        ("best", SLIGHTLY_WORSE, 2),
        ("auto", SLIGHTLY_WORSE, 3),
    ],
)
def test_which_epoch_is_kept(keep, path, kept):
    """'auto' gives up the last epoch only for a loss beyond chance."""
    curve, threshold = follow(path, Settings(keep))
    assert (curve.best, curve.kept, curve.planned) == (2, kept, len(path))
    assert threshold == path[kept - 1]
    assert [each.loss for each in curve.epochs] == list(range(len(path)))
    top1 = {each.epoch: each.top1 for each in curve.epochs}
    assert top1[2] == 1.0 and top1[1] == 38 / 40


def test_of_equal_epochs_the_later_one_is_the_best():
    curve, _ = follow([0.5, 0.5, 0.9], Settings("best"))
    assert curve.best == 2


def test_equal_top1_is_decided_by_the_likelihood():
    curve, _ = follow([0.5, 0.505, 0.9], Settings("best"))
    assert [each.top1 for each in curve.epochs[:2]] == [1.0, 1.0]
    assert curve.epochs[0].nll < curve.epochs[1].nll
    assert curve.best == 1


def test_training_stops_early_and_keeps_the_best():
    path = [0.55, 0.5, 0.52, 0.53, 0.5, 0.5]
    curve, threshold = follow(path, Settings(patience=2))
    assert [each.epoch for each in curve.epochs] == [1, 2, 3, 4]
    assert (curve.kept, curve.planned, threshold) == (2, 6, 0.5)
    assert "stopped early" in curve.choice and "(6 were planned)" in curve.choice
    assert follow(path, Settings(keep="last", patience=2))[1] == path[3]


def test_without_patience_every_epoch_is_trained():
    assert len(follow([0.5, 0.6, 0.6, 0.6], Settings())[0].epochs) == 4


def test_an_epoch_whose_logits_are_not_finite_is_never_kept():
    curve, threshold = follow([0.55, math.nan], Settings())
    assert (curve.kept, threshold) == (1, 0.55)
    assert (curve.epochs[1].top1, curve.epochs[1].nll) == (0.0, None)


def test_a_large_validation_split_is_evaluated_in_some_epochs_and_in_the_last():
    # 40 validation images for 60 training images: a tenth of the time allows every third epoch
    curve, _ = follow([0.6] * 7, Settings(), images=60)
    assert [each.epoch for each in curve.epochs if each.top1 is not None] == [3, 6, 7]
    assert [each.epoch for each in curve.epochs] == list(range(1, 8))


def test_the_average_is_evaluated_and_kept():
    path = [0.2, 0.4, 0.6]
    curve, threshold = follow(path, Settings("last", ema_decay=0.5))
    average = 0.0
    for step in range(1, 13):  # four steps an epoch
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * path[(step - 1) // 4]
    assert threshold == pytest.approx(average, abs=1e-4)
    right = np.mean((np.linspace(0, 1, IMAGES) > average) == LABELS)
    assert curve.epochs[-1].top1 == pytest.approx(right)
    assert curve.ema_decay == 0.5 and "averaged weights" in curve.choice


class Small(torch.nn.Module):
    """A batch norm and dropout, so that buffers and random numbers are at stake."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.norm = torch.nn.BatchNorm1d(3)
        self.hidden = torch.nn.Linear(3, 8)
        self.drop = torch.nn.Dropout(0.3)
        self.last = torch.nn.Linear(8, 2)

    def forward(self, images):
        features = torch.relu(self.hidden(self.norm(images.mean(dim=(2, 3)))))
        return self.last(self.drop(features)), features


NOISY = np.random.default_rng(0).integers(0, 2, IMAGES)


def train(settings, checkpoints=None, stop_at=None):
    """The weights, the curve and the steps of a training that an error ends before `stop_at`."""
    model, numbers = Small(), []
    images = torch.from_numpy(shades()).permute(0, 3, 1, 2).float() / 255

    def loss_of(step):
        if step.number == stop_at:
            raise InterruptedError
        numbers.append(step.number)
        model.train()
        labels = torch.from_numpy(NOISY)[step.indices]
        return torch.nn.functional.cross_entropy(model(images[step.indices])[0], labels)

    try:
        curve = fit(
            model.parameters(),
            IMAGES,
            Schedule(6, 10, 0.05, 0.0, 0),
            loss_of,
            SilentEvents(),
            "Test",
            modules=[model],
            trainer_config=TrainerConfig(checkpoints=checkpoints),
            validation=Validation(model, shades()[:12], NOISY[:12], settings),
        )
    except InterruptedError:
        return None, None, numbers
    return model.state_dict(), curve, numbers


@pytest.mark.parametrize(
    "settings",
    [
        Settings("best"),
        Settings("best", ema_decay=0.9),
        Settings("auto", patience=2, ema_decay=0.5),
        Settings("last", patience=1),
    ],
)
@pytest.mark.parametrize("stop_at", [2, 7, 8, 11])
def test_a_resumed_training_keeps_the_same_weights(tmp_path, settings, stop_at):
    """Bit by bit, whether it was killed within an epoch or right after its validation."""
    expected, curve, numbers = train(settings)
    checkpoints = Checkpoints(tmp_path, "distill", "f" * 64, every_steps=1)
    train(settings, checkpoints, stop_at)
    found, resumed, continued = train(settings, checkpoints)
    assert resumed == curve
    assert continued == [number for number in numbers if number >= stop_at]
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_training_that_stopped_early_is_not_continued(tmp_path):
    settings = Settings(patience=1)
    checkpoints = Checkpoints(tmp_path, "distill", "f" * 64)
    expected, curve, numbers = train(settings, checkpoints)
    assert len(numbers) < 24, "the training has to stop early for this test to mean anything"
    found, again, continued = train(settings, checkpoints)
    assert continued == [] and again == curve
    assert all(torch.equal(found[name], expected[name]) for name in expected)
