"""In a training step, the host waits for no GPU; the GPU is emulated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from emulated_gpu import GPU, NoBlockingCopies, emulated_gpu

from tmkd_deploy.distill.losses.total import StudentLoss
from tmkd_deploy.distill.student import train_student
from tmkd_deploy.distill.teacher_outputs import (
    CachedTeacherOutputs,
    FusedTeacher,
    LiveTeacherOutputs,
)
from tmkd_deploy.distill.visual_teacher import fine_tune
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.models.classifier import create
from tmkd_deploy.quantize.insert import insert_quantizers, use_quant_scheme
from tmkd_deploy.recipe import schema
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.types import VIEWS
from tmkd_deploy.training.batches import (
    Batch,
    MixedIn,
    TrainingImages,
    selected,
    to_float,
)
from tmkd_deploy.training.distributed import BatchShard
from tmkd_deploy.training.schedule import Schedule
from tmkd_deploy.training.step import Step

CLASSES, COUNT, SIDE = 4, 8, 32
SMALL = {"channels": [8, 8, 16, 16], "stem_width": 8}
SILENT = SilentEvents()
SCHEDULE = Schedule(1, COUNT, 0.1, 0.0, 0)
NONE = TrainingImages(np.zeros((COUNT, 1, 1, 3), np.uint8), torch.zeros(COUNT), "none", 1)
BATCHES: list[Batch] = []


@dataclass(frozen=True)
class Settings:
    logit_loss: str = "kd"
    ce_weight: float = 1.0
    dkd_beta: float = 8.0
    alpha: float = 1.0
    temperature: float = 4.0
    beta: float = 1.0
    gamma: float = 0.1
    contrastive_temperature: float = 0.07
    teacher_warmup_epochs: int = 2


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In place of a training only the loss of its first step; gradients are torch's business.

    Batches are prepared in a thread of their own, so only their copies matter.
    """
    done: list[str] = []

    def first_step(parameters, images, schedule, loss_of, events, description, **rest):
        batch = BATCHES.pop()
        step = Step(0, batch.indices, torch.Generator(), 0, BatchShard.of(COUNT), batch)
        with NoBlockingCopies():
            loss = loss_of(step)
        assert loss.device == GPU and loss.shape == ()
        done.append(description)

    monkeypatch.setattr("tmkd_deploy.distill.student.fit", first_step)
    monkeypatch.setattr("tmkd_deploy.distill.visual_teacher.fit", first_step)
    return done


def network():
    with GPU:
        return create("resnet10t", CLASSES, SMALL, SIDE, scratch=True)


def prepare(mixed: bool = False) -> None:
    """The batch of the next training."""
    with GPU:
        labels, images = torch.zeros(COUNT, dtype=torch.int64), torch.rand(COUNT, 3, SIDE, SIDE)
    every = torch.arange(COUNT)
    mixed_in = MixedIn(every, labels, 0.3) if mixed else None
    BATCHES.append(Batch(images, labels, every, every % 2, mixed_in))


def step_of(outputs, settings=None, quantized=False, mixed=False):
    model, width = network()
    if quantized:
        insert_quantizers(model, [])
        use_quant_scheme(model.network, QuantScheme.S8)
    with GPU:
        loss = StudentLoss(settings or Settings(), width, 16, torch.randn(CLASSES, 5))
    prepare(mixed)
    train_student(model, loss, NONE, outputs, SCHEDULE, GPU, SILENT, "Student")


def cached():
    return CachedTeacherOutputs(torch.zeros(2, COUNT, CLASSES), torch.zeros(2, COUNT, 16).half())


def live(teacher, settings):
    weights, text = torch.ones(COUNT, 3) / 3, torch.zeros(COUNT, CLASSES)
    return LiveTeacherOutputs(FusedTeacher(teacher, settings, list(VIEWS), weights, 0.5, text, 0.3))


@pytest.mark.parametrize("logit_loss", ["kd", "dkd", "dist"])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_student_with_cached_outputs(passed: list[str], logit_loss: str, mixed: bool) -> None:
    with emulated_gpu():
        step_of(cached(), Settings(logit_loss), mixed=mixed)
    assert passed == ["Student"]


@pytest.mark.parametrize("views", [{}, {"freq": "gaussian"}], ids=str)
@pytest.mark.parametrize("mixed", [False, True])
def test_a_student_of_a_live_teacher(passed: list[str], mixed: bool, views: dict) -> None:
    with emulated_gpu():
        step_of(live(network()[0], schema.Views(**views)), mixed=mixed)
    assert passed == ["Student"]


def test_outputs_and_images_on_the_gpu_itself(passed: list[str]) -> None:
    with emulated_gpu():
        outputs = cached()
        held = CachedTeacherOutputs(outputs.logits.to(GPU), outputs.features.to(GPU))
        step_of(held)
        images = TrainingImages(
            torch.zeros(COUNT, 8, 8, 3, device=GPU), torch.zeros(COUNT, device=GPU), "flip", 1
        )
        with NoBlockingCopies():
            assert selected(images.labels, torch.arange(3)).device == GPU
            assert to_float(images.images, torch.arange(3), GPU).device == GPU
    assert passed == ["Student"]


def test_a_quantized_student(passed: list[str]) -> None:
    with emulated_gpu():
        step_of(cached(), quantized=True)
    assert passed == ["Student"]


def test_the_visual_teacher(passed: list[str]) -> None:
    with emulated_gpu():
        prepare()
        fine_tune(network()[0], NONE, schema.Views(), SCHEDULE, GPU, SILENT)
    assert len(passed) == 1


def test_the_emulated_gpu_notices() -> None:
    with emulated_gpu(), NoBlockingCopies():
        values = torch.empty(3, device=GPU)
        for wait in (
            lambda: float(values[0]),
            lambda: values[values > 0],
            lambda: values + torch.empty(3),
            lambda: values + torch.ones(3).to(GPU),
            values.cpu,
        ):
            with pytest.raises(Exception, match=r"nonzero|data|local_scalar|device|waits"):
                wait()
        assert (values + torch.ones(3).to(GPU, non_blocking=True)).device == GPU
