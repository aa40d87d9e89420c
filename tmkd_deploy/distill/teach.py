"""The stage that makes the teachers: a visual one for three views, and a text teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from tmkd_deploy.artifacts import Artifact
from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill import text_teacher
from tmkd_deploy.distill.augment import apply_each, variants
from tmkd_deploy.distill.facts import TeacherFacts
from tmkd_deploy.distill.training import Schedule, Step, fit, to_float, training_device
from tmkd_deploy.distill.views import make_views, one_view_each
from tmkd_deploy.events import Events, track
from tmkd_deploy.models import weights
from tmkd_deploy.models.classifier import Classifier, create, parameters_of
from tmkd_deploy.recipe.schema import VIEWS, Recipe


@dataclass(frozen=True)
class Teachers:
    """The teachers of a run, read back from their artifact."""

    visual: Classifier
    facts: TeacherFacts
    texts: Tensor
    scores: dict[str, Tensor]

    @classmethod
    def of(cls, artifact: Artifact[TeacherFacts], recipe: Recipe, data: PreparedData) -> Teachers:
        """Read teachers: texts [V, C, d]; scores by split [N, V, C]."""
        visual, _ = _new_visual(recipe, data)
        weights.load(visual, artifact.path("visual.safetensors"))
        text = load_file(artifact.path("text.safetensors"))
        scores = {"train": text["train_scores"], "test": text["test_scores"]}
        return cls(visual.eval(), artifact.facts, text["texts"], scores)


def teach(recipe: Recipe, data: PreparedData, folder: Path, events: Events) -> TeacherFacts:
    """Fine-tune both teachers on the training split and write them into `folder`."""
    device = training_device()
    torch.manual_seed(recipe.seed)
    visual, width = _visual(recipe, data, device, events)
    weights.save(visual, folder / "visual.safetensors")
    top1 = _top1_by_view(recipe, data, visual, device, events)
    events.say(f"The visual teacher's top-1 by view is {_shown(top1)}.")

    text = text_teacher.create(recipe.teacher.text, recipe.prompts, data.class_names)
    text.to(device)
    settings = recipe.teacher.text
    if settings.epochs:
        text_teacher.train(
            text,
            data.images("train"),
            data.labels("train"),
            recipe.views,
            _schedule(settings.epochs, settings.batch_size, settings.learning_rate, 0.05, recipe),
            device,
            events,
        )
    scores = {
        split: text_teacher.semantic_scores(text, data.images(split), recipe.views, device, events)
        for split in ("train", "test")
    }
    with torch.inference_mode():
        texts = text.embed_classes().cpu()
    weights.write_tensors(
        {"texts": texts, "train_scores": scores["train"], "test_scores": scores["test"]},
        folder / "text.safetensors",
    )
    labels = torch.from_numpy(data.labels("test"))
    text_top1: dict[str, float] = {
        view: float((scores["test"][:, index].argmax(dim=1) == labels).float().mean())
        for index, view in enumerate(VIEWS)
    }
    events.say(f"The text teacher's top-1 by view is {_shown(text_top1)}.")
    return TeacherFacts(
        visual_model=recipe.teacher.visual.model,
        visual_parameters=parameters_of(visual),
        feature_width=width,
        top1_by_view=top1,
        text_model=settings.model,
        text_top1_by_view=text_top1,
    )


def _visual(
    recipe: Recipe, data: PreparedData, device: torch.device, events: Events
) -> tuple[Classifier, int]:
    """The visual teacher, fine-tuned with one random view per image so that it reads them all."""
    settings = recipe.teacher.visual
    visual, width = _new_visual(recipe, data)
    weights.initialise(visual, settings.model, settings.weights)
    visual.to(device).to(memory_format=torch.channels_last)
    if settings.epochs == 0:
        return visual, width
    images, labels = data.images("train"), torch.from_numpy(data.labels("train"))
    augment = recipe.distill.augment
    choices = variants(augment, 8)

    def loss_of(step: Step) -> Tensor:
        visual.train()
        batch = to_float(images, step.indices, device)
        shown = torch.randint(len(VIEWS), (len(batch),), generator=step.random)
        variant = torch.randint(choices, (len(batch),), generator=step.random)
        pixels = one_view_each(apply_each(batch, augment, variant), recipe.views, shown)
        logits, _ = visual(pixels.to(memory_format=torch.channels_last))
        return F.cross_entropy(logits, labels[step.indices].to(device), label_smoothing=0.1)

    schedule = _schedule(
        settings.epochs, settings.batch_size, settings.learning_rate, settings.weight_decay, recipe
    )
    fit(
        visual.parameters(),
        len(images),
        schedule,
        loss_of,
        events,
        "Training the visual teacher on three views",
    )
    return visual, width


def _new_visual(recipe: Recipe, data: PreparedData) -> tuple[Classifier, int]:
    settings = recipe.teacher.visual
    return create(
        settings.model,
        len(data.class_names),
        {},
        recipe.data.image_size,
        scratch=settings.weights == "none",
    )


def _top1_by_view(
    recipe: Recipe, data: PreparedData, visual: Classifier, device: torch.device, events: Events
) -> dict[str, float]:
    images, labels = data.images("test"), data.labels("test")
    visual.eval()
    right = np.zeros(len(VIEWS))
    starts = range(0, len(images), 64)
    with torch.inference_mode():
        for start in track(events, starts, "Checking the visual teacher", len(starts), "batches"):
            batch = to_float(images[start : start + 64], None, device)
            shown = make_views(batch, recipe.views, list(VIEWS))
            logits, _ = visual(shown.flatten(0, 1).to(memory_format=torch.channels_last))
            chosen = logits.argmax(dim=1).view(shown.shape[:2]).cpu().numpy()
            right += (chosen == labels[start : start + 64]).sum(axis=1)
    return dict(zip(VIEWS, (right / len(images)).tolist(), strict=True))


def _schedule(
    epochs: int, batch_size: int, learning_rate: float, decay: float, recipe: Recipe
) -> Schedule:
    return Schedule(epochs, batch_size, learning_rate, decay, recipe.seed)


def _shown(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{view} {100 * share:.1f} %" for view, share in shares.items())
