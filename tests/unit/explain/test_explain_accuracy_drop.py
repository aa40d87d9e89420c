"""The step that lost most, by class; calibration; engines against other precisions."""

import pytest

from tmkd_deploy.explain.accuracy_drop import RANK_LAYERS, largest_drop
from tmkd_deploy.explain.interface import EngineLayer, Kind
from tmkd_deploy.explain.other_precisions import (
    larger_than_others,
    saturation,
    slower_than_others,
)
from tmkd_deploy.records.latency import Latency, LatencyRatio
from tmkd_deploy.records.measurements import ClassFlips, EngineFile, LedgerRow


def row(representation, top1, above=None, change=None, precision="int8", **more):
    return LedgerRow(
        representation=representation,
        precision=precision,
        label=f"The {representation}",
        top1=top1,
        top1_interval=(0.0, 1.0),
        macro_recall=top1,
        agreement_with_teacher=1.0,
        compared_with=above,
        change_points=change,
        change_interval=None if change is None else (change - 0.5, change + 0.5),
        gained=None if change is None else 1,
        lost=None if change is None else 9,
        **more,
    )


LEDGER = [
    row("teacher", 0.9, precision="fp32"),
    row("student_baseline", 0.7, "teacher", -20.0, precision="fp32"),
    row("student", 0.89, "teacher", -1.0, precision="fp32", expected_calibration_error=0.02),
    row(
        "fake_quantized",
        0.85,
        "student",
        -4.0,
        expected_calibration_error=0.05,
        p_value=0.02,
        flips=(
            ClassFlips(
                class_name="sound",
                gained=1,
                lost=2,
                still_wrong=0,
                gained_from={"crack": 1},
                lost_to={"crack": 2},
            ),
            ClassFlips(
                class_name="crack",
                gained=0,
                lost=7,
                still_wrong=1,
                gained_from={},
                lost_to={"scratch": 6, "sound": 1},
            ),
        ),
    ),
    row("onnx", 0.85, "fake_quantized", 0.0),
    row("engine", 0.85, "onnx", 0.0),
    row("onnx", 0.4, "student", -49.0, precision="fp16"),
]


def engine(precision, runtime=None):
    return EngineFile(
        precision=precision,
        runtime=runtime,
        file="engine.onnx",
        bytes=1,
        sha256="0" * 64,
        int8_layers=None,
        total_layers=None,
    )


def test_the_largest_drop_names_its_step_classes_and_calibration():
    (found,), notes = largest_drop(LEDGER, engine("int8"))
    assert found.kind is Kind.LARGEST_DROP and found.certain
    assert "The student (89.0 %) to The fake_quantized (85.0 %): −4.0 points" in found.problem
    crack, sound = found.problem.index("crack lost 7"), found.problem.index("sound lost 2")
    assert crack < sound and "most often to scratch" in found.problem
    assert "changes from 2.0 % to 5.0 %" in found.problem
    assert "quantize.exclude_layers" in found.advice and RANK_LAYERS in found.advice
    assert notes == ["Expected calibration error: The student 2.0 %, The fake_quantized 5.0 %."]


def test_another_engines_rows_count_for_that_engine_alone():
    (found,), _ = largest_drop(LEDGER, engine("fp16"))
    assert "The onnx (40.0 %)" in found.problem and "export" in found.advice


def test_engines_of_two_runtimes_share_a_file_but_not_a_row():
    other = row("engine", 0.5, "onnx", -35.0, runtime="openvino", p_value=0.001)
    for runtime, worst in ((None, "The fake_quantized (85.0 %)"), ("openvino", "(50.0 %)")):
        (found,), _ = largest_drop([*LEDGER, other], engine("int8", runtime))
        assert worst in found.problem


def test_a_drop_that_may_be_chance_says_so():
    rows = [row("teacher", 0.9), row("student", 0.89, "teacher", -0.2)]
    (found,), _ = largest_drop(rows, engine("int8"))
    assert not found.certain and "may be due to chance" in found.problem
    # a ledger of an earlier version knows neither classes nor calibration
    assert "By class" not in found.problem and "calibration" not in found.problem


def test_no_drop_is_no_finding():
    found, notes = largest_drop(
        [row("teacher", 0.9), row("student", 0.9, "teacher", 0.0)], engine("int8")
    )
    assert found == [] and "lost top-1" in notes[0]


def latency(numerator="fp32", denominator="int8", ratio=0.5, **machine):
    spread = (0.9 * ratio, 1.1 * ratio)
    return Latency(
        rows=[],
        ratios=[
            LatencyRatio(numerator=numerator, denominator=denominator, ratio=ratio, interval=spread)
        ],
        protocol={},
        machine=machine,
        warnings=[],
    )


@pytest.mark.parametrize("turned", [False, True])
def test_a_slower_engine_is_told_with_its_top_consumers(turned):
    timed = latency("int8", "fp32", 2.0) if turned else latency("fp32", "int8", 0.5)
    consumers = [EngineLayer("n", "FusedConv", "fp32", "layer1.conv1", 0.4)]
    (found,) = slower_than_others("int8", timed, consumers)
    assert found.kind is Kind.SLOWER_THAN_OTHER_PRECISION
    assert "2.00 times as long as the FP32 engine" in found.problem
    assert "layer1.conv1 (FusedConv), 40 %" in found.problem


@pytest.mark.parametrize(
    "timed", [None, latency(ratio=1.05), latency(ratio=2.0), latency("teacher", ratio=0.5)]
)
def test_an_engine_that_is_not_shown_to_be_slower_is_left_alone(timed):
    assert slower_than_others("int8", timed, []) == []


def test_a_larger_engine_is_told():
    files = [
        EngineFile(
            precision=name, file="f", bytes=size, sha256="", int8_layers=None, total_layers=None
        )
        for name, size in (("int8", 9_200_000), ("fp16", 7_400_000), ("fp32", 14_300_000))
    ]
    (found,) = larger_than_others("int8", files)
    assert "(9.20 MB) is larger than the FP16 engine (7.40 MB)" in found.problem
    assert larger_than_others("fp16", files) == []


@pytest.mark.parametrize(
    ("vnni", "precise", "risky"),
    [(False, False, True), (False, True, False), (True, False, False), ("unknown", False, False)],
)
def test_saturation_is_a_risk_without_vnni_and_precision(vnni, precise, risky):
    timed = latency(vnni=vnni, precise_int8=precise, processor="Old")
    assert bool(saturation("int8", timed)) is risky
    assert saturation("fp32", timed) == []
