"""How the teachers' outputs are fused: as the recipe states it, or as held-out images decide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill.candidates import Validated, judge
from tmkd_deploy.distill.fusion import fuse, predicted_classes, semantic_weights
from tmkd_deploy.distill.likelihood import best_factor, best_weights, image_nll
from tmkd_deploy.distill.teacher_outputs import cache_teacher_outputs
from tmkd_deploy.distill.train_teacher import Teachers
from tmkd_deploy.distill.visual_teacher import logits_by_view
from tmkd_deploy.events import Events
from tmkd_deploy.recipe.schema import Distill, Recipe
from tmkd_deploy.records.fusion import Decision, Fusion, Part
from tmkd_deploy.records.types import VIEWS, View
from tmkd_deploy.training.distributed import training_device

_SOFTNESS = 0.05, 20.0
_LARGEST_SHARE = 10.0
_NO_TEXT_LOGITS = "text share: 0 (precomputed text embeddings have no image tower, so no logits)"


def fusion_of(recipe: Recipe, data: PreparedData, teachers: Teachers, events: Events) -> Fusion:
    """The fusion that the student learns from; `distill.method: auto` decides what is open.

    The visual teacher's logits of the validation images are all that has to be computed.
    """
    settings = recipe.distill
    stated = stated_fusion(settings)
    if settings.method != "auto":
        return stated
    labels = data.labels("val")
    device = training_device()
    visual = teachers.visual.to(device)
    logits = logits_by_view(visual, data.images("val"), recipe.views, device, events)
    columns = [VIEWS.index(view) for view in settings.views]
    by_text = None
    if settings.text_weights == "auto":
        scores = teachers.scores["val"][:, columns]
        by_text = semantic_weights(scores, predicted_classes(scores), settings.weight_temperature)
    fusion = decide(
        settings.views,
        logits[columns],
        torch.from_numpy(labels),
        stated,
        teachers.view_weights(recipe, stated, "val", labels),
        by_text,
        teachers.text_logits("val"),
    )
    for sentence in fusion.sentences:
        events.say(f"Fused teacher, {sentence}.")
    return fusion


def stated_fusion(settings: Distill) -> Fusion:
    """The fusion before anything is decided; views that are left open count equally."""
    by_text = settings.text_weights is True
    return Fusion(guided_by=settings.weights_guided_by if by_text else "nothing")


def validate_fused(
    recipe: Recipe, data: PreparedData, teachers: Teachers, fusion: Fusion, events: Events
) -> Validated:
    """The fused teacher, which the student learns from, on the validation split.

    Where labels guide the weights of the views in training, the text teacher's predictions do here.
    """
    device = training_device()
    fused = teachers.fused(recipe, fusion.without_labels, data, device, split="val")
    outputs = cache_teacher_outputs(fused, data.images("val"), "none", 1, device, events)
    return judge(outputs.logits[0].numpy(), data, "the fused teacher")


def decide(
    views: Sequence[View],
    logits: Tensor,
    labels: Tensor,
    stated: Fusion,
    weights: Tensor,
    by_text: Tensor | None,
    text_logits: Tensor | None,
) -> Fusion:
    """Try one part of the fused teacher after the other; take those that lower the held-out NLL.

    Args:
        views: the views that are fused.
        logits: [V, N, C], the visual teacher's on N held-out images.
        labels: [N] int64.
        stated: what the recipe states.
        weights: [N, V], the weights of the views as stated.
        by_text: [N, V], weights by the text teacher's scores; None if the weights are not open.
        text_logits: [N, C] of the text teacher; None if it has none.
    """
    found: dict[str, Any] = {}
    decisions: list[Decision] = []
    fused = fuse(logits, weights)

    def take(part: Part, default: str, tried: str, changed: Tensor) -> bool:
        nonlocal fused
        before, after = (image_nll(each, labels) for each in (fused, changed))
        decision = _decision(part, default, tried, before, after)
        decisions.append(decision)
        if decision.taken:
            fused = changed
        return decision.taken

    factor = best_factor(torch.zeros_like(fused), fused, labels, *_SOFTNESS)
    if take("softness", "1", f"{factor:.2f}", factor * fused):
        found["softness"] = factor
        logits = factor * logits
    if by_text is not None and len(views) > 1:
        fitted = best_weights(logits, labels)
        by_view = dict(zip(views, fitted.tolist(), strict=True))
        said = ", ".join(f"{view} {weight:.2f}" for view, weight in by_view.items())
        if take("view weights", "even", said, fuse(logits, fitted.expand(len(labels), -1))):
            found |= {"guided_by": "validation", "view_weights": by_view}
        if take("text weights", "off", "on", fuse(logits, by_text)):
            found |= {"guided_by": "prediction", "view_weights": {}}
    if text_logits is not None:
        share = best_factor(fused, text_logits, labels, 0.0, _LARGEST_SHARE)
        if take("text share", "0", f"{share:.2f}", fused + share * text_logits):
            found["text_share"] = share
    notes = [_NO_TEXT_LOGITS] if text_logits is None else []
    return stated.model_copy(update={**found, "decisions": decisions, "notes": notes})


def _decision(part: Part, default: str, tried: str, before: Tensor, after: Tensor) -> Decision:
    """Compare the NLL [N] of the same images before and after a change."""
    gain = before - after
    mean, images = float(gain.mean()), len(gain)
    # one image has no standard error, and decides nothing
    error = float(gain.std()) / math.sqrt(images) if images > 1 else abs(mean)
    return Decision(
        part=part,
        default=default,
        tried=tried,
        nll_before=float(before.mean()),
        nll_after=float(after.mean()),
        standard_error=error,
        images=images,
        taken=mean > error,
    )
