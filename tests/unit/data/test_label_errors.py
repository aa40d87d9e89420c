"""Wrong labels found by a probe: the rule, the folds, and features that say much or nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from tmkd_deploy.data import findings
from tmkd_deploy.data.label_errors import check_labels, contradicted
from tmkd_deploy.data.probe import FOLDS, folds_of, out_of_fold
from tmkd_deploy.data.samples import Sample
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.records.data_check import LabelCheck

NAMES = ["bent", "fine", "torn"]
PER_CLASS = 60


def samples_of(labels: Tensor) -> list[Sample]:
    return [
        Sample(row, f"{row:03}.png", label, "", f"p{row}")
        for row, label in enumerate(labels.tolist())
    ]


def true_labels() -> Tensor:
    return torch.arange(len(NAMES)).repeat_interleave(PER_CLASS)


def features(distance: float, width: int = 40) -> Tensor:
    """A normal cloud for each class of `true_labels`; their centres lie `distance` from 0 or so."""
    random = torch.Generator().manual_seed(0)
    centres = torch.randn(len(NAMES), width, generator=random) * distance / width**0.5
    noise = torch.randn(len(NAMES) * PER_CLASS, width, generator=random)
    return centres[true_labels()] + noise


def mislabelled(count: int) -> tuple[Tensor, set[int]]:
    """Labels of which `count` are changed to another class, and the rows of these."""
    labels, random = true_labels(), np.random.default_rng(0)
    rows = random.choice(len(labels), count, replace=False)
    labels[rows] = (labels[rows] + torch.from_numpy(random.integers(1, 3, count))) % 3
    return labels, set(rows.tolist())


def check(distance: float, labels: Tensor) -> LabelCheck:
    samples = samples_of(labels)
    splits = {"train": samples, "val": [], "test": []}
    return check_labels(features(distance), "w", samples, splits, NAMES, [], SilentEvents())


def test_planted_errors_are_found_with_their_true_classes() -> None:
    labels, wrong = mislabelled(9)
    found = check(12, labels)
    assert found.suspects is not None
    rows = [int(each.key.removesuffix(".png")) for each in found.suspects]
    assert len(wrong & set(rows)) >= 8
    assert len(set(rows) - wrong) <= 1
    for row, suspect in zip(rows, found.suspects, strict=True):
        assert suspect.label == NAMES[labels[row]]
        assert suspect.split == "train"
        if row in wrong:
            assert suspect.suggested == NAMES[true_labels()[row]]
    margins = [each.margin for each in found.suspects]
    assert margins == sorted(margins)
    assert found.accuracy == pytest.approx(0.95, abs=0.02)
    [finding] = findings.label_errors(found)
    assert (finding.kind, finding.severity) == ("suspect_labels", "note")
    assert f"{len(rows)} of 180 labels are contradicted" in finding.problem
    assert "suspicions" in finding.advice
    assert check(12, labels) == found, "the same every time"


def test_correct_labels_are_hardly_suspected() -> None:
    found = check(12, true_labels())
    assert found.suspects == []
    [finding] = findings.label_errors(found)
    assert "None of 180 labels is contradicted" in finding.problem
    assert len(check(4, true_labels()).suspects or ()) <= 2


def test_a_probe_at_chance_lists_nothing_and_says_so() -> None:
    found = check(0, true_labels())
    assert found.suspects is None
    assert found.balanced_accuracy is not None and found.balanced_accuracy < 0.5
    [finding] = findings.label_errors(found)
    assert (finding.kind, finding.severity) == ("labels_not_judged", "note")
    assert f"only {100 * found.balanced_accuracy:.1f} %" in finding.problem


def test_the_rule_of_the_confident_joint() -> None:
    probabilities = torch.tensor(
        [
            [0.9, 0.1, 0.0],
            [0.7, 0.3, 0.0],  # self-confidence of class 0: (0.9 + 0.7 + 0.1 + 0.3) / 4 = 0.5
            [0.1, 0.9, 0.0],  # contradicted
            [0.3, 0.4, 0.3],  # class 1 is more probable, but less than its self-confidence
            [0.0, 0.6, 0.4],
            [0.5, 0.4, 0.1],  # contradicted; self-confidence of class 1: (0.6 + 0.4) / 2 = 0.5
        ]
    )
    labels = torch.tensor([0, 0, 0, 0, 1, 1])  # none of class 2, which is never suggested
    assert [(index, suggested) for index, suggested, _ in contradicted(probabilities, labels)] == [
        (2, 1),
        (5, 0),
    ]
    margins = [margin for _, _, margin in contradicted(probabilities, labels)]
    assert margins == pytest.approx([-0.8, -0.1])


def test_the_probe_is_a_penalised_logistic_regression() -> None:
    labels, _ = mislabelled(18)
    folds = folds_of(samples_of(labels))
    found = out_of_fold(features(6), labels, folds, len(NAMES), SilentEvents())
    standardised = StandardScaler().fit_transform(features(6).double().numpy())
    for fold in range(FOLDS):
        held = (folds == fold).numpy()
        seen = int((~held).sum())
        reference = LogisticRegression(C=1 / (0.03 * seen), max_iter=5000, tol=1e-8)
        reference.fit(standardised[~held], labels.numpy()[~held])
        expected = reference.predict_proba(standardised[held])
        np.testing.assert_allclose(found[folds == fold].numpy(), expected, atol=2e-3)


def test_folds_are_stratified_and_divide_neither_copies_nor_groups() -> None:
    samples = [
        Sample(row, f"{row:03}.png", row % 2, "", f"p{row // 2 if row < 20 else row}")
        for row in range(160)
    ]
    samples += [
        Sample(row, f"{row:03}.png", row % 2, "", f"p{row}", group=f"g{row // 8}")
        for row in range(160, 240)
    ]
    similar = [(f"p{row}", f"p{row + 1}") for row in range(100, 120, 2)]
    folds = folds_of(samples, similar)
    for row in range(0, 20, 2):
        assert folds[row] == folds[row + 1], "identical pixels, although of two classes"
    for one, other in similar:
        assert folds[int(one[1:])] == folds[int(other[1:])]
    for first in range(160, 240, 8):
        assert len(folds[first : first + 8].unique()) == 1
    labels = torch.tensor([sample.label for sample in samples])
    for label in range(2):
        counts = torch.bincount(folds[labels == label], minlength=FOLDS)
        assert counts.min() >= 20 and counts.max() <= 28


def test_images_without_an_independent_fellow_are_counted_and_not_judged() -> None:
    labels = true_labels()
    samples = [
        Sample(row, f"{row:03}.png", int(label), "", f"p{row}", group="g" if label == 2 else "")
        for row, label in enumerate(labels)
    ]
    splits = {"train": samples, "val": [], "test": []}
    found = check_labels(features(12), "w", samples, splits, NAMES, [], SilentEvents())
    assert (found.images, found.not_judged) == (2 * PER_CLASS, PER_CLASS)
    assert found.suspects == []
    [finding] = findings.label_errors(found)
    assert "60 images could not be judged" in finding.problem

    two = [samples[0], samples[-1]]
    found = check_labels(torch.rand(2, 3), "w", two, splits, NAMES, [], SilentEvents())
    assert (found.images, found.accuracy, found.suspects) == (0, None, None)
    [finding] = findings.label_errors(found)
    assert finding.kind == "labels_not_judged"
