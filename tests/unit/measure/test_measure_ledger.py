"""What the accuracy ledger says, counted again image by image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmkd_deploy.measure.ledger import Entry, confusion_matrix, ledger
from tmkd_deploy.records.logits import Logits
from tmkd_deploy.records.measurements import LedgerRow

NAMES = ["crazing", "patches", "scratches"]


def checked(array):
    """Logits of images with numbers for names."""
    images = [str(number) for number in range(len(array))]
    return Logits([np.asarray(array)], of="a model", images=images, classes=array.shape[1])


def logits_of(decisions, classes=3):
    """Logits whose largest value is at the decision."""
    return checked(np.eye(classes, dtype=np.float32)[np.asarray(decisions)] + 0.1)


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
        NAMES,
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


def test_an_engine_is_paired_with_teacher_and_student_across_all_steps():
    rows = ledger(
        entries(
            teacher=[0, 0, 1, 1, 2, 0],
            student=[0, 1, 1, 0, 2, 2],
            fake_quantized=[0, 1, 1, 0, 2, 2],
            onnx=[0, 0, 1, 0, 0, 0],
            engine=[0, 1, 1, 1, 0, 0],
        ),
        np.array([0, 0, 1, 1, 2, 2]),
        NAMES,
    )
    found = {name: (each.gained, each.lost) for name, each in rows[-1].against.items()}
    assert found == {"teacher": (0, 2), "student": (1, 2)}
    assert all(not row.against for row in rows[:-1])


def test_rows_are_compared_by_representation_although_keys_differ():
    """A report looks a row's predecessor up by its representation, not by the ledger's own key."""
    decisions = [0, 1, 2, 0]
    kinds = ("teacher", "student", "fake_quantized", "onnx", "engine")
    rows = ledger(entries(**dict.fromkeys(kinds, decisions)), np.array([0, 1, 2, 2]), NAMES)
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
    row = ledger(entries(teacher=teacher, student=student), labels, NAMES)[1]
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


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_flips_by_class_add_up_to_the_step(seed, images):
    labels, teacher, student = np.random.default_rng(seed).integers(0, 3, (3, images))
    row = ledger(entries(teacher=teacher, student=student), labels, NAMES)[1]
    assert sum(each.gained for each in row.flips) == row.gained
    assert sum(each.lost for each in row.flips) == row.lost
    assert row.change_points == pytest.approx(100 * (row.gained - row.lost) / images)
    changed = sum(each.gained + each.lost + each.still_wrong for each in row.flips)
    assert row.agreement_with_compared == pytest.approx(1 - changed / images)
    net = [each.lost - each.gained for each in row.flips]
    assert net == sorted(net, reverse=True)
    for each in row.flips:
        label = NAMES.index(each.class_name)
        mine = labels == label
        assert each.gained == (mine & (teacher != label) & (student == label)).sum()
        assert each.lost == (mine & (teacher == label) & (student != label)).sum()
        assert each.gained + each.lost + each.still_wrong == (mine & (teacher != student)).sum() > 0
        # with three classes all of them are named
        assert sum(each.gained_from.values()) == each.gained
        assert sum(each.lost_to.values()) == each.lost
        for name, count in each.lost_to.items():
            went = mine & (teacher == label) & (student == NAMES.index(name))
            assert count == went.sum()
        for name, count in each.gained_from.items():
            came = mine & (student == label) & (teacher == NAMES.index(name))
            assert count == came.sum()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_the_step_back_undoes_the_step(seed, images):
    labels, one, other = np.random.default_rng(seed).integers(0, 3, (3, images))
    forth = ledger(entries(teacher=one, student=other), labels, NAMES)[1]
    back = ledger(entries(teacher=other, student=one), labels, NAMES)[1]
    assert (forth.gained, forth.lost, forth.p_value) == (back.lost, back.gained, back.p_value)
    assert forth.change_points == -back.change_points
    assert forth.calibration_error_change == -back.calibration_error_change
    undone = {each.class_name: (each.lost_to, each.gained_from) for each in forth.flips}
    assert {each.class_name: (each.gained_from, each.lost_to) for each in back.flips} == undone


def test_of_many_classes_only_those_with_flips_and_their_three_main_ways_are_kept():
    names = [f"class{index}" for index in range(1000)]
    labels = np.repeat(np.arange(1000), 10)
    before, after = labels.copy(), labels.copy()
    after[70:80] = [1, 2, 2, 3, 3, 3, 4, 4, 4, 4]
    before[500] = 9
    rows = ledger(
        [
            Entry("a", "student", "fp32", "a", logits_of(before, 1000)),
            Entry("b", "engine", "fp32", "b", logits_of(after, 1000), "a"),
        ],
        labels,
        names,
    )
    lossy, better = rows[1].flips
    assert (lossy.class_name, lossy.lost, lossy.gained) == ("class7", 10, 0)
    assert list(lossy.lost_to.items()) == [("class4", 4), ("class3", 3), ("class2", 2)]
    assert (better.class_name, better.gained_from) == ("class50", {"class9": 1})


def step(labels, before, after):
    return ledger(entries(teacher=before, student=after), np.array(labels), NAMES)[1]


def test_a_significant_loss_is_told_with_its_class():
    labels = [0] * 50 + [1] * 50
    after = [2] * 9 + [0] * 41 + [0] * 2 + [1] * 48
    row = step(labels, labels, after)
    assert row.significant
    assert row.note == (
        "The step from 'label of teacher' to 'label of student' lost 11.00 points (p < 0.001), "
        "most of them in class crazing."
    )


def test_a_loss_without_a_main_class_is_said_to_be_spread():
    labels = [0] * 20 + [1] * 20 + [2] * 20
    after = [1] * 3 + [0] * 17 + [2] * 3 + [1] * 17 + [0] * 2 + [2] * 18
    note = step(labels, labels, after).note
    assert "lost 13.33 points (p = 0.008), spread over 3 classes." in note


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([0] * 40, [0] * 40),  # nothing changed
        ([0] * 40, [1] * 5 + [0] * 35),  # five lost and none gained: p = 0.0625
        ([1] * 10 + [0] * 30, [0] * 40),  # a gain
    ],
)
def test_no_note_where_nothing_was_significantly_lost(before, after):
    assert step([0] * 40, before, after).note is None


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ([0] * 60, "gained 16.67 points (p = 0.002). It may be chance."),
        ([0] * 52 + [1] * 8, None),  # two gained and none lost
        ([0] * 40 + [1] * 20, "lost 16.67 points"),
    ],
)
def test_what_is_to_be_said_of_a_gain_is_said_where_it_is_significant(after, expected):
    before = [0] * 50 + [1] * 10
    rows = ledger(
        [
            Entry("a", "student", "fp32", "a", logits_of(before)),
            Entry("b", "engine", "fp32", "b", logits_of(after), "a", "It may be chance."),
        ],
        np.zeros(60, dtype=int),
        NAMES,
    )
    note = rows[1].note
    assert note is None if expected is None else expected in note


def test_a_row_tells_its_calibration_error_and_the_step_its_change():
    # the decision has a probability of 0.8; 9, then 6 of 10 are right
    sure = np.log(0.8 / 0.1)
    labels = np.zeros(10, int)

    def logits(right):
        return checked(np.eye(3)[[0] * right + [1] * (10 - right)] * sure)

    rows = ledger(
        [
            Entry("a", "teacher", "fp32", "a", logits(9)),
            Entry("b", "student", "fp32", "b", logits(6), "a"),
        ],
        labels,
        NAMES,
    )
    assert rows[0].expected_calibration_error == pytest.approx(0.1)
    assert rows[1].expected_calibration_error == pytest.approx(0.2)
    assert rows[1].calibration_error_change == pytest.approx(0.1)


def test_results_of_an_earlier_version_are_read_and_judged_by_their_interval():
    row = step([0] * 40, [0] * 40, [1] * 20 + [0] * 20)
    new = {"p_value", "expected_calibration_error", "calibration_error_change", "flips", "note"}
    old = LedgerRow.model_validate(row.model_dump(mode="json", exclude=new))
    assert old.significant
    assert old.flips == () and old.note is None


def test_confusions_are_by_true_class_and_decision():
    found = confusion_matrix(np.array([0, 1, 1, 2]), np.array([0, 0, 1, 1]), classes=4)
    assert found == [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
