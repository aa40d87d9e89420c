"""One teacher made of several, as a row of the protocol says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.comparisons.data import Split
from benchmarks.comparisons.protocol import Row
from benchmarks.comparisons.teachers import Teachers, Tensors
from tmkd_deploy.distill.decide_fusion import decide
from tmkd_deploy.distill.fusion import fuse, predicted_classes, semantic_weights, uniform_weights
from tmkd_deploy.records.fusion import Fusion
from tmkd_deploy.records.types import VIEWS, View

_TEMPERATURE = 0.05  # of the weights by text, as in the recipe
_PART_OF_RGB = {"rgb": "", "passes": "passes-", "ensemble": ""}


@dataclass(frozen=True)
class Fused:
    """The teacher's logits [A, N, C] and features [A, N, D] of the training images.

    For the trick "view by view", the features are the softened logits of all views, D = V C.

    `val` [N, C] are its logits of the validation images; `decisions` say what these decided.
    """

    logits: Tensor
    features: Tensor
    val: Tensor
    decisions: list[str]


def fused(row: Row, split: Split, teachers: Teachers) -> Fused:
    """The teacher that students of `row` learn from."""
    assert row.teacher is not None
    visual = teachers.visual(row.teacher)
    if row.fusion in _PART_OF_RGB:
        return _of_rgb(row, split, teachers, visual)
    text = teachers.text(free=False)
    logits = visual["val"][0]
    labels = torch.from_numpy(split.labels("val"))
    even = uniform_weights(len(labels), len(VIEWS))
    by_text, shared = None, None
    if row.fusion == "auto":
        by_text = _weights(text["val"], predicted_classes(text["val"]))
        if row.text:
            shared = teachers.text(free=row.text == "free")
    stated = Fusion(guided_by="label" if row.fusion == "label" else "nothing")
    if row.soften:
        by_share = None if shared is None else _text_logits(shared, "val")
        stated = decide(VIEWS, logits, labels, stated, even, by_text, by_share)
    of_train = _view_weights(stated, text, split)
    of_val = _view_weights(stated.without_labels, text, split, "val")
    made = torch.stack([stated.softness * fuse(each, of_train) for each in visual["train"]])
    features = torch.stack([fuse(each.float(), of_train) for each in visual["features"]])
    if row.trick == "view by view":
        features = stated.softness * visual["train"].transpose(1, 2).flatten(2)
    val = stated.softness * fuse(logits, of_val)
    if shared is not None and stated.text_share:
        made = made + stated.text_share * _text_logits(shared, "train")
        val = val + stated.text_share * _text_logits(shared, "val")
    return Fused(made, features, val, stated.sentences)


def _of_rgb(row: Row, split: Split, teachers: Teachers, visual: Tensors) -> Fused:
    key = _PART_OF_RGB[row.fusion]
    train, val = visual[f"{key}train"][:, 0], visual[f"{key}val"][0, 0]
    if row.fusion == "ensemble":
        again = teachers.visual("rgb again")
        train, val = (train + again["train"][:, 0]) / 2, (val + again["val"][0, 0]) / 2
    labels = torch.from_numpy(split.labels("val"))
    one: list[View] = [VIEWS[0]]
    found = decide(one, val[None], labels, Fusion(), uniform_weights(len(labels), 1), None, None)
    nothing = torch.zeros(*train.shape[:2], 1)
    return Fused(found.softness * train, nothing, found.softness * val, found.sentences[:1])


def _view_weights(fusion: Fusion, text: Tensors, split: Split, part: str = "train") -> Tensor:
    labels = torch.from_numpy(split.labels(part))
    if fusion.guided_by == "nothing":
        return uniform_weights(len(labels), len(VIEWS))
    if fusion.guided_by == "validation":
        return torch.tensor([fusion.view_weights[view] for view in VIEWS]).repeat(len(labels), 1)
    scores = text[part]
    return _weights(scores, labels if fusion.guided_by == "label" else predicted_classes(scores))


def _weights(scores: Tensor, classes: Tensor) -> Tensor:
    return semantic_weights(scores, classes, _TEMPERATURE)


def _text_logits(text: Tensors, part: str) -> Tensor:
    return text["scale"] * text[part][:, 0]
