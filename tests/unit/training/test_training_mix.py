"""Mixup and CutMix: torchvision's arithmetic, the loss of both labels, and resumed trainings."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from tmkd_deploy.distill.losses.total import StudentLoss, TeacherOutputs
from tmkd_deploy.distill.student import train_student
from tmkd_deploy.distill.teacher_outputs import FusedTeacher, LiveTeacherOutputs
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.recipe.schema import Distill, Views
from tmkd_deploy.training.batches import MixedIn, TrainingImages
from tmkd_deploy.training.checkpoint import Checkpoints
from tmkd_deploy.training.mix import cutmix, mix
from tmkd_deploy.training.schedule import Schedule
from tmkd_deploy.training.trainer_config import TrainerConfig

KINDS = ("mixup", "cutmix")
CPU = torch.device("cpu")
CLASSES = 4


def numbered(seed):
    return torch.Generator().manual_seed(seed)


def training_images(**mixing):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (22, 12, 16, 3), dtype=np.uint8)
    augmentations = ("random_resized_crop", "color_jitter")
    return TrainingImages(images, torch.arange(22) % CLASSES, "crop", 1, augmentations, **mixing)


def batch_of(kind, seed=9, rows=slice(None)):
    order = torch.randperm(22, generator=numbered(2))
    return training_images(mix=kind, mix_alpha=0.8).batch(order, numbered(seed), CPU, rows)


def soft_labels(batch):
    own, others = (F.one_hot(each, CLASSES) for each in (batch.labels, batch.mixed_in.labels))
    return batch.mixed_in.share * own + (1 - batch.mixed_in.share) * others


@pytest.mark.parametrize("seed", range(5))
def test_mixup_is_that_of_torchvision(seed):
    plain, mixed = batch_of("none", seed), batch_of("mixup", seed)

    class Given(v2.MixUp):
        def make_params(self, flat_inputs):
            return {"lam": mixed.mixed_in.share}

    images, labels = Given(num_classes=CLASSES)(plain.images, plain.labels)
    assert torch.allclose(mixed.images, images, atol=1e-6)
    assert torch.allclose(soft_labels(mixed), labels)
    assert torch.allclose(soft_labels(mixed).sum(dim=1), torch.ones(22))


@pytest.mark.parametrize("seed", range(20))
def test_cutmix_is_that_of_torchvision(seed):
    plain = batch_of("none", seed)
    torch.manual_seed(seed)
    images, labels = v2.CutMix(num_classes=CLASSES)(plain.images, plain.labels)
    torch.manual_seed(seed)  # what it drew
    share = float(torch.distributions.Beta(torch.ones(1), torch.ones(1)).sample(()))
    column, line = (int(torch.randint(side, (1,))) for side in (16, 12))
    found, kept = cutmix(plain.images, plain.images.roll(1, 0), share, (line, column))
    assert torch.equal(found, images)
    expected = kept * F.one_hot(plain.labels, CLASSES)
    expected = expected + (1 - kept) * F.one_hot(plain.labels.roll(1), CLASSES)
    assert torch.allclose(expected, labels, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(alpha=st.floats(1e-3, 10), seed=st.integers(0, 1000))
def test_the_share_is_that_of_the_pixels(kind, alpha, seed):
    shape = (2, 3, 9, 14)
    found, share = mix(torch.ones(shape), torch.zeros(shape), kind, alpha, numbered(seed))
    assert 0 <= share <= 1
    assert float(found.mean()) == pytest.approx(share, abs=1e-5)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_shares_follow_the_beta_distribution(alpha):
    pixel = torch.zeros(1, 3, 1, 1)
    shares = [mix(pixel, pixel, "mixup", alpha, numbered(seed))[1] for seed in range(2000)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.04)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.15)


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_decides_and_rows_are_those_of_the_whole_batch(kind):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    whole = batch_of(kind)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(batch_of(kind).images, whole.images)
    assert batch_of(kind, seed=10).mixed_in.share != whole.mixed_in.share
    for rows in (slice(0, 7), slice(7, 22)):
        part = batch_of(kind, rows=rows)
        assert torch.allclose(part.images, whole.images[rows], atol=1e-6)
        assert torch.equal(part.indices, whole.indices[rows])
        assert torch.allclose(soft_labels(part), soft_labels(whole)[rows])
        assert torch.equal(part.mixed_in.indices, whole.mixed_in.indices[rows])


@pytest.mark.parametrize("logit_loss", ["kd", "dkd", "dist"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_that_of_both_labels_by_their_shares(logit_loss, weighted):
    torch.manual_seed(1)
    weights = torch.tensor([0.5, 1.0, 2.0, 0.7]) if weighted else None
    loss = StudentLoss(
        Distill(method="tmkd", logit_loss=logit_loss), 5, 6, torch.randn(CLASSES, 3), weights
    )
    logits, features = torch.randn(8, CLASSES), torch.randn(8, 5)
    labels = torch.arange(8) % CLASSES
    others, share = labels.roll(1), 0.3
    outputs = TeacherOutputs(torch.randn(8, CLASSES), torch.randn(8, 6))

    def terms(labels, mixed_in=None):
        value = loss(logits, features, labels, outputs, 0, mixed_in).detach()
        assert float(value) == pytest.approx(sum(map(float, loss.terms.values())), rel=1e-5)
        return {name: float(term) for name, term in loss.terms.items()}

    found = terms(labels, MixedIn(torch.arange(8), others, share))
    one, other = terms(labels), terms(others)
    for name in ("labels", "logits", "features", "contrastive"):
        assert found[name] == pytest.approx(share * one[name] + (1 - share) * other[name], rel=1e-5)
    if logit_loss != "dkd":
        assert found["logits"] == pytest.approx(one["logits"], rel=1e-5)
    assert found["features"] == pytest.approx(one["features"], rel=1e-5)
    soft = share * F.one_hot(labels, CLASSES) + (1 - share) * F.one_hot(others, CLASSES)
    by_class = soft if weights is None else soft * weights
    expected = -(by_class * torch.log_softmax(logits, dim=1)).sum(dim=1).mean()
    assert found["labels"] == pytest.approx(float(expected), rel=1e-5)
    alone = loss(logits, features, labels, None, 0, MixedIn(torch.arange(8), others, share))
    assert alone.item() == pytest.approx(float(expected), rel=1e-5)


class Network(torch.nn.Module):
    """Mean colours, a hidden layer with dropout, and two outputs."""

    def __init__(self):
        super().__init__()
        self.hidden = torch.nn.Linear(3, 6)
        self.last = torch.nn.Linear(6, CLASSES)

    def forward(self, images):
        features = F.dropout(
            torch.relu(self.hidden(images.mean(dim=(2, 3)))), training=self.training
        )
        return self.last(features), features


def teacher():
    torch.manual_seed(3)
    weights = torch.softmax(torch.randn(22, 2, generator=numbered(4)), dim=1)
    return FusedTeacher(Network().eval(), Views(), ["rgb", "edge"], weights)


@pytest.mark.parametrize("kind", KINDS)
def test_the_teacher_sees_mixed_images_in_views_weighted_for_both(kind):
    fused, batch = teacher(), batch_of(kind)
    found = LiveTeacherOutputs(fused).for_batch(batch)
    share, partners = batch.mixed_in.share, batch.mixed_in.indices
    weights = share * fused.weights[batch.indices] + (1 - share) * fused.weights[partners]
    expected = fused.outputs(batch.images, weights)
    assert torch.allclose(found.logits, expected.logits, atol=1e-6)
    assert torch.allclose(found.features, expected.features, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_teachers_logits_are_mixed_like_the_images(kind):
    plain, batch = teacher(), batch_of(kind)
    text_logits = torch.randn(22, CLASSES, generator=numbered(5))
    softness, text_share = 0.5, 0.25
    fused = replace(plain, softness=softness, text_logits=text_logits, text_share=text_share)
    found = LiveTeacherOutputs(fused).for_batch(batch)
    share, partners = batch.mixed_in.share, batch.mixed_in.indices
    mixed = share * text_logits[batch.indices] + (1 - share) * text_logits[partners]
    expected = LiveTeacherOutputs(plain).for_batch(batch)
    logits = softness * expected.logits + text_share * mixed
    assert torch.allclose(found.logits, logits, atol=1e-6)
    assert torch.equal(found.features, expected.features)


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_training_goes_on_with_the_same_mixtures(kind, tmp_path):
    def trained(checkpoints=None, stop_in=None):
        torch.manual_seed(0)
        student, shares = Network(), []
        loss = StudentLoss(Distill(), 6, 6, torch.randn(CLASSES, 3))
        outputs = LiveTeacherOutputs(teacher())

        class Recorded:
            def for_batch(self, batch):
                shares.append(batch.mixed_in.share)
                return outputs.for_batch(batch)

        def stop(epoch):
            if epoch == stop_in:
                raise InterruptedError

        train_student(
            student,
            loss,
            training_images(mix=kind),
            Recorded(),
            Schedule(4, 8, 0.05, 0.01, 3),
            CPU,
            SilentEvents(),
            "Test",
            trainer_config=TrainerConfig(checkpoints=checkpoints),
            on_epoch=stop,
        )
        return student.state_dict(), shares

    expected, shares = trained()
    assert len(shares) == 12 and len(set(shares)) > 6
    checkpoints = Checkpoints(tmp_path, "distill", "f" * 64, every_steps=2)
    with pytest.raises(InterruptedError):
        trained(checkpoints, stop_in=2)
    found, resumed = trained(checkpoints)
    assert resumed == shares[6:]
    assert all(torch.equal(found[name], value) for name, value in expected.items())
