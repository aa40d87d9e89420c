"""Weights of classes in the cross-entropy with the labels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tmkd_deploy.distill.losses.labels import LARGEST_RATIO, class_weights, label_loss
from tmkd_deploy.distill.losses.total import StudentLoss, TeacherOutputs
from tmkd_deploy.recipe.schema import Distill


def labels_of(*counts):
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def test_none_are_no_weights():
    assert class_weights("none", labels_of(3, 1), 2) is None


def test_balanced_weights_are_the_inverse_frequency():
    weights = class_weights("balanced", labels_of(80, 20), 2)
    assert weights.tolist() == pytest.approx([100 / 160, 100 / 40])


@given(st.lists(st.integers(0, 200), min_size=2, max_size=6).filter(any))
def test_images_weigh_one_on_average_and_no_class_more_than_the_cap(counts):
    weights = class_weights("balanced", labels_of(*counts), len(counts))
    shares = np.array(counts) / sum(counts)
    assert float((weights.numpy() * shares).sum()) == pytest.approx(1.0, rel=1e-5)
    largest = float(weights[int(np.argmax(counts))])
    assert float(weights.max()) <= LARGEST_RATIO * largest * (1 + 1e-5)
    assert torch.isfinite(weights).all() and (weights > 0).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_each_image_counts_by_the_weight_of_its_class(smoothing):
    torch.manual_seed(0)
    logits, labels, weights = torch.randn(6, 3), labels_of(3, 2, 1), torch.tensor([0.5, 1.0, 3.0])
    alone = [
        float(weights[label]) * float(label_loss(row[None], label[None], smoothing=smoothing))
        for row, label in zip(logits, labels, strict=True)
    ]
    found = float(label_loss(logits, labels, weights, smoothing))
    assert found == pytest.approx(np.mean(alone), rel=1e-5)


def test_equal_classes_change_nothing():
    torch.manual_seed(0)
    logits, labels = torch.randn(8, 4), labels_of(2, 2, 2, 2)
    weights = class_weights("balanced", labels, 4)
    assert torch.allclose(label_loss(logits, labels, weights), label_loss(logits, labels))


def test_only_the_cross_entropy_is_weighted():
    """The other terms, and what is written to files, are those of a loss without weights."""
    weights, texts = torch.tensor([0.5, 3.0]), torch.randn(2, 4)
    losses = []
    for given_weights in (None, weights):
        torch.manual_seed(1)
        losses.append(StudentLoss(Distill(method="tmkd"), 5, 6, texts, given_weights))
    torch.manual_seed(2)
    batch = torch.randn(8, 2), torch.randn(8, 5), torch.randint(2, (8,))
    teacher = TeacherOutputs(torch.randn(8, 2), torch.randn(8, 6))
    for loss in losses:
        loss(*batch, teacher, 0)
    plain, weighted = (loss.terms for loss in losses)
    assert torch.equal(weighted["labels"], label_loss(batch[0], batch[2], weights))
    assert not torch.equal(weighted["labels"], plain["labels"])
    for term in ("logits", "features", "contrastive"):
        assert torch.equal(weighted[term], plain[term]), term
    assert losses[0].state_dict().keys() == losses[1].state_dict().keys()
