"""What the accuracy ledger says, counted again image by image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmkd_deploy.measure.ledger import Entry, confusion_matrix, ledger


def logits_of(decisions, classes=3):
    """Logits whose largest value is at the decision."""
    return np.eye(classes, dtype=np.float32)[np.asarray(decisions)] + 0.1


def entries(**decisions):
    chain = [
        ("teacher", "teacher", "fp32", None),
        ("student", "student", "fp32", "teacher"),
        ("fake_quantized", "fake_quantized", "int8", "student"),
        ("onnx-int8", "onnx", "int8", "fake_quantized"),
        ("int8", "engine", "int8", "onnx-int8"),
    ]
    return [
        Entry(key, kind, precision, f"label of {key}", logits_of(decisions[kind]), above)
        for key, kind, precision, above in chain
        if kind in decisions
    ]


def test_a_worked_example():
    labels = np.array([0, 0, 1, 1, 2, 2])
    rows = ledger(
        entries(teacher=[0, 0, 1, 1, 2, 0], student=[0, 1, 1, 0, 2, 2]),
        labels,
    )
    teacher, student = rows
    assert teacher.top1 == pytest.approx(5 / 6)
    assert teacher.compared_with is None and teacher.gained is None
    assert teacher.agreement_with_teacher == 1.0
    assert student.top1 == pytest.approx(4 / 6)
    assert student.macro_recall == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert (student.gained, student.lost) == (1, 2)
    assert student.change_points == pytest.approx(-100 / 6)
    assert student.agreement_with_teacher == pytest.approx(3 / 6)
    low, high = student.change_interval
    assert low < -100 / 6 < high


def test_rows_are_compared_by_representation_although_keys_differ():
    """A report looks a row's predecessor up by its representation, not by the ledger's own key."""
    decisions = [0, 1, 2, 0]
    kinds = ("teacher", "student", "fake_quantized", "onnx", "engine")
    rows = ledger(entries(**dict.fromkeys(kinds, decisions)), np.array([0, 1, 2, 2]))
    above = {row.representation: row.compared_with for row in rows}
    assert above == {
        "teacher": None,
        "student": "teacher",
        "fake_quantized": "student",
        "onnx": "fake_quantized",
        "engine": "onnx",
    }
    assert all(row.agreement_with_compared in (None, 1.0) for row in rows)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_rows_count_what_a_loop_counts(seed, images):
    random = np.random.default_rng(seed)
    labels, teacher, student = random.integers(0, 3, (3, images))
    row = ledger(entries(teacher=teacher, student=student), labels)[1]
    gained = lost = 0
    right = {0: [], 1: [], 2: []}
    for label, before, after in zip(labels, teacher, student, strict=True):
        gained += before != label and after == label
        lost += before == label and after != label
        right[label].append(after == label)
    assert (row.gained, row.lost) == (gained, lost)
    assert row.change_points == pytest.approx(100 * (gained - lost) / images)
    assert row.agreement_with_compared == pytest.approx((teacher == student).mean())
    assert row.macro_recall == pytest.approx(np.mean([np.mean(r) for r in right.values() if r]))
    low, high = row.top1_interval
    assert low <= row.top1 <= high


def test_confusions_are_by_true_class_and_decision():
    found = confusion_matrix(np.array([0, 1, 1, 2]), np.array([0, 0, 1, 1]), 4)
    assert found == [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
