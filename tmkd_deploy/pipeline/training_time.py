"""How long a run's trainings will take on this machine, from a few timed steps of its models."""

from __future__ import annotations

import time

import torch
from torch import nn
from torch.nn import functional as F

from tmkd_deploy.models.classifier import create
from tmkd_deploy.pipeline.training_job import set_threads
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.types import ImageSize, height_and_width
from tmkd_deploy.training.distributed import training_device

_TIMED_SECONDS = 0.2
_CPU_BATCH = 8  # a CPU's time per image hardly depends on the batch size


def training_seconds(recipe: Recipe, images: int, classes: int) -> dict[str, float]:
    """The expected duration in seconds of the stages that train networks of images, by name.

    What comes with the steps (augmentation, views, checkpoints, validation) is not counted.

    Args:
        recipe: names the models, the epochs and the number of threads.
        images: the number of training images.
        classes: the number of classes.

    Raises:
        RequestError: a model cannot be created.
    """
    set_threads(recipe)
    visual, student, distill = recipe.teacher.visual, recipe.student, recipe.distill
    size = recipe.data.image_size
    if recipe.model_is_given:
        return {"quantize": images * recipe.quantize.epochs * _own_step(recipe, classes)}
    teacher, _ = create(visual.model, classes, {}, size, scratch=True)
    teacher_step = _seconds_per_image(teacher, size, classes, visual.batch_size, trains=True)
    teacher_pass = _seconds_per_image(teacher, size, classes, distill.batch_size, trains=False)
    model, _ = create(student.model, classes, student.model_kwargs, size, scratch=True)
    step = _seconds_per_image(model, size, classes, distill.batch_size, trains=True)
    cached = distill.teacher_outputs == "cached"
    views = len(distill.views)
    passes = distill.cached_augmentations if cached else distill.epochs
    students = 2 if distill.baseline else 1
    live_passes = 0 if cached else recipe.quantize.epochs
    return {
        "train_teacher": images * visual.epochs * teacher_step,
        "distill": images * (passes * views * teacher_pass + students * distill.epochs * step),
        "quantize": images * (recipe.quantize.epochs * step + live_passes * views * teacher_pass),
    }


def _own_step(recipe: Recipe, classes: int) -> float:
    """Seconds per image where a given model is fine-tuned with itself as the teacher."""
    student, size, batch = recipe.student, recipe.data.image_size, recipe.distill.batch_size
    model, _ = create(student.model, classes, student.model_kwargs, size, scratch=True)
    return sum(
        _seconds_per_image(model, size, classes, batch, trains=trains) for trains in (True, False)
    )


def _seconds_per_image(
    model: nn.Module, size: ImageSize, classes: int, batch_size: int, *, trains: bool
) -> float:
    device = training_device()
    count = batch_size if device.type == "cuda" else min(batch_size, _CPU_BATCH)
    images = torch.rand(count, 3, *height_and_width(size), device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(count, device=device) % classes
    model = model.to(device).train(trains)

    def once() -> None:
        with torch.set_grad_enabled(trains):
            logits, _ = model(images)
        if trains:
            torch.autograd.backward(F.cross_entropy(logits, labels))
        if device.type == "cuda":
            torch.cuda.synchronize()

    once()  # allocates
    begun, runs = time.monotonic(), 0
    while not runs or time.monotonic() - begun < _TIMED_SECONDS:
        once()
        runs += 1
    return (time.monotonic() - begun) / (runs * count)
