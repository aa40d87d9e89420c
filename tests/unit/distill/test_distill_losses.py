"""Each loss term against its formula, implemented independently in NumPy with float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tmkd_deploy.distill.losses.contrastive import contrastive
from tmkd_deploy.distill.losses.dist import dist
from tmkd_deploy.distill.losses.dkd import dkd
from tmkd_deploy.distill.losses.feature import feature
from tmkd_deploy.distill.losses.kd import kd
from tmkd_deploy.distill.losses.total import StudentLoss, TeacherOutputs
from tmkd_deploy.recipe.schema import Distill

TEMPERATURES = st.floats(0.5, 8.0)
OTHERS_WEIGHT = 3.0

LOGIT_LOSSES = {
    "kd": lambda student, teacher, labels, t: kd(student, teacher, t),
    "dkd": lambda student, teacher, labels, t: dkd(student, teacher, labels, t, OTHERS_WEIGHT),
    "dist": lambda student, teacher, labels, t: dist(student, teacher, t),
}


@st.composite
def batches(draw, least_classes=3):
    """Student and teacher logits [N, C] that vary within each image, and labels [N]."""
    images, classes = draw(st.integers(2, 6)), draw(st.integers(least_classes, 7))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.floats(0.5, 6.0))
    student, teacher = random.normal(0, size, (2, images, classes))
    return student, teacher, random.integers(0, classes, images)


def probabilities(logits):
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def divergence(target, other):
    return float(np.sum(target * (np.log(target) - np.log(other))))


def kd_reference(student, teacher, labels, temperature):
    shares = [probabilities(logits / temperature) for logits in (teacher, student)]
    return temperature**2 * np.mean([divergence(q, p) for q, p in zip(*shares, strict=True)])


def dkd_reference(student, teacher, labels, temperature):
    total = 0.0
    for row, label in enumerate(labels):
        p, q = (probabilities(logits[row] / temperature) for logits in (student, teacher))
        others = np.delete(np.arange(len(p)), label)
        binary = divergence(
            np.array([q[label], q[others].sum()]), np.array([p[label], p[others].sum()])
        )
        # the distribution among non-target classes, renormalised
        rest = divergence(q[others] / q[others].sum(), p[others] / p[others].sum())
        total += binary + OTHERS_WEIGHT * rest
    return temperature**2 * total / len(labels)


def correlation(a, b):
    """Pearson correlation, damped for nearly constant rows."""
    a, b = a - a.mean(), b - b.mean()
    return a @ b / (max(np.linalg.norm(a), 1e-8) * max(np.linalg.norm(b), 1e-8))


def dist_reference(student, teacher, labels, temperature):
    p, q = probabilities(student / temperature), probabilities(teacher / temperature)
    within = [correlation(a, b) for a, b in zip(p, q, strict=True)]
    between = [correlation(a, b) for a, b in zip(p.T, q.T, strict=True)]
    return temperature**2 * ((1 - np.mean(within)) + (1 - np.mean(between)))


REFERENCES = {"kd": kd_reference, "dkd": dkd_reference, "dist": dist_reference}


def tensors(*arrays):
    return [torch.from_numpy(np.asarray(array)) for array in arrays]


@pytest.mark.parametrize("name", list(REFERENCES))
@settings(deadline=None, max_examples=60)
@given(batch=batches(), temperature=TEMPERATURES)
def test_logit_losses_follow_their_formula(name, batch, temperature):
    found = float(LOGIT_LOSSES[name](*tensors(*batch), temperature))
    assert found == pytest.approx(REFERENCES[name](*batch, temperature), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("loss", LOGIT_LOSSES.values(), ids=LOGIT_LOSSES)
@settings(deadline=None, max_examples=30)
@given(batch=batches(), temperature=TEMPERATURES)
def test_a_student_equal_to_its_teacher_has_zero_loss(loss, batch, temperature):
    _, teacher, labels = batch
    value = float(loss(*tensors(teacher, teacher, labels), temperature))
    assert value == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("loss", [LOGIT_LOSSES["kd"], LOGIT_LOSSES["dkd"]], ids=["kd", "dkd"])
@settings(deadline=None, max_examples=30)
@given(batch=batches(), temperature=TEMPERATURES)
def test_divergences_are_never_negative(loss, batch, temperature):
    assert float(loss(*tensors(*batch), temperature)) >= -1e-9


@pytest.mark.parametrize("loss", LOGIT_LOSSES.values(), ids=LOGIT_LOSSES)
@settings(deadline=None, max_examples=30)
@given(
    logits=hnp.arrays(np.float32, (2, 4, 3), elements=st.floats(-80, 80, width=32)),
    labels=hnp.arrays(np.int64, 4, elements=st.integers(0, 2)),
)
def test_gradients_are_finite_for_any_logits(loss, logits, labels):
    student, teacher = tensors(*logits)
    student.requires_grad_()
    value = loss(student, teacher, torch.from_numpy(labels), 4.0)
    (gradient,) = torch.autograd.grad(value, student)
    assert torch.isfinite(value) and torch.isfinite(gradient).all()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 6), width=st.integers(2, 9))
def test_feature_is_one_minus_the_mean_cosine(seed, images, width):
    a, b = np.random.default_rng(seed).normal(size=(2, images, width))
    cosines = [
        np.dot(x, y) / np.sqrt(np.dot(x, x) * np.dot(y, y)) for x, y in zip(a, b, strict=True)
    ]
    assert float(feature(*tensors(a, b))) == pytest.approx(1 - np.mean(cosines), abs=1e-6)
    assert float(feature(*tensors(a, 7.5 * a))) == pytest.approx(0.0, abs=1e-6)
    assert float(feature(*tensors(a, -a))) == pytest.approx(2.0, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 6),
    classes=st.integers(2, 5),
    temperature=st.floats(0.05, 1.0),
)
def test_contrastive_is_the_cross_entropy_of_the_class(seed, images, classes, temperature):
    random = np.random.default_rng(seed)
    projected, texts = random.normal(size=(images, 8)), random.normal(size=(classes, 8))
    labels = random.integers(0, classes, images)
    surprise = []
    for image, label in zip(projected, labels, strict=True):
        cosines = texts @ image / np.linalg.norm(texts, axis=1) / np.linalg.norm(image)
        surprise.append(-np.log(probabilities(cosines / temperature)[label]))
    found = float(contrastive(*tensors(projected, texts, labels), temperature))
    assert found == pytest.approx(np.mean(surprise), rel=1e-5)


def test_zero_features_give_finite_gradients():
    features = torch.zeros(2, 4, requires_grad=True)
    labels = torch.tensor([0, 1])
    value = feature(features, torch.ones(2, 4)) + contrastive(
        features, torch.eye(3, 4), labels, 0.1
    )
    (gradient,) = torch.autograd.grad(value, features)
    assert torch.isfinite(gradient).all()


class TestStudentLoss:
    """The sum of the terms."""

    def parts(self, **settings):
        torch.manual_seed(1)
        settings = Distill(method="tmkd", dkd_beta=OTHERS_WEIGHT, **settings)
        loss = StudentLoss(settings, 5, 6, torch.randn(3, 4))
        batch = torch.randn(8, 3), torch.randn(8, 5), torch.randint(3, (8,))
        return loss, batch, TeacherOutputs(torch.randn(8, 3), torch.randn(8, 6))

    def terms(self, loss, batch, teacher_outputs, settings):
        logits, features, labels = batch
        rows = torch.arange(len(labels))
        return {
            "ce_weight": -torch.log_softmax(logits, dim=1)[rows, labels].mean(),
            "alpha": LOGIT_LOSSES[settings.logit_loss](
                logits, teacher_outputs.logits, labels, settings.temperature
            ),
            "beta": feature(loss.to_teacher(features), teacher_outputs.features),
            "gamma": contrastive(
                loss.to_text(features), loss.texts, labels, settings.contrastive_temperature
            ),
        }

    def test_without_teacher_outputs_only_the_labels_count(self):
        loss, batch, teacher_outputs = self.parts(ce_weight=0.1)
        expected = self.terms(loss, batch, teacher_outputs, loss.settings)["ce_weight"]
        assert loss(*batch, None, 0).item() == pytest.approx(expected.item())

    @pytest.mark.parametrize("logit_loss", ["kd", "dkd", "dist"])
    @pytest.mark.parametrize(
        ("ce_weight", "alpha", "beta", "gamma"),
        [(1, 1, 1, 0.1), (1, 0, 1, 0.1), (1, 1, 0, 0.1), (0.1, 0.9, 0, 0), (1, 0, 0, 0)],
    )
    def test_each_term_is_scaled_by_its_weight(self, logit_loss, ce_weight, alpha, beta, gamma):
        weights = {"ce_weight": ce_weight, "alpha": alpha, "beta": beta, "gamma": gamma}
        loss, batch, teacher_outputs = self.parts(logit_loss=logit_loss, **weights)
        terms = self.terms(loss, batch, teacher_outputs, loss.settings)
        expected = sum(weight * terms[name] for name, weight in weights.items())
        assert loss(*batch, teacher_outputs, 0).item() == pytest.approx(expected.item(), rel=1e-5)

    @pytest.mark.parametrize(("epoch", "ramp"), [(0, 0.25), (1, 0.5), (3, 1.0), (9, 1.0)])
    def test_the_teacher_terms_warm_up_to_their_full_weight(self, epoch, ramp):
        loss, batch, teacher_outputs = self.parts(teacher_warmup_epochs=4)
        terms = self.terms(loss, batch, teacher_outputs, loss.settings)
        taught = terms["alpha"] + terms["beta"] + 0.1 * terms["gamma"]
        expected = terms["ce_weight"] + ramp * taught
        assert loss(*batch, teacher_outputs, epoch).item() == pytest.approx(
            expected.item(), rel=1e-5
        )

    def test_a_disabled_term_has_no_gradient(self):
        loss, batch, teacher_outputs = self.parts(beta=0)
        loss(*batch, teacher_outputs, 0).backward()
        assert loss.to_teacher.weight.grad is None
        assert loss.to_text.weight.grad is not None

    @pytest.mark.parametrize("logit_loss", ["kd", "dkd", "dist"])
    def test_a_batch_of_one_class_has_gradients_too(self, logit_loss):
        loss, (logits, features, _), teacher_outputs = self.parts(logit_loss=logit_loss)
        logits.requires_grad_()
        value = loss(logits, features, torch.full((8,), 1), teacher_outputs, 0)
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(logits.grad).all()
        assert logits.grad.abs().sum() > 0
