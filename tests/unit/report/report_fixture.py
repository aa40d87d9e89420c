"""A run as the demo makes it: a CPU target that was measured and an RTX target that was not."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tmkd_deploy.gate.evaluate import evaluate
from tmkd_deploy.recipe.schema import Budgets
from tmkd_deploy.records.distillation import ViewWeights
from tmkd_deploy.records.fusion import Decision, Fusion
from tmkd_deploy.records.latency import FrameLatency, Latency, LatencyRatio, LatencyRow
from tmkd_deploy.records.measurements import ClassFlips, EngineFile, LedgerRow, Measurements
from tmkd_deploy.records.training import Epoch, TrainingCurve
from tmkd_deploy.records.verdict import GateRecord, Outcome
from tmkd_deploy.report.interface import (
    DataSummary,
    QuantizationSummary,
    RunReport,
    StageTime,
    StudentSummary,
    TargetReport,
    TeacherSummary,
    ViewGallery,
)

CLASS_NAMES = ["functional", "defective"]
NOT_MEASURED = (
    "This machine has no NVIDIA GPU, so the engine was built ahead of time and has not been run."
)
RECIPE = """name: quickstart
data:
  source: elpv
  image_size: 96
targets:
- target: cpu
  budgets: {latency_p99_ms: 3.0, accuracy: 0.78}
- target: rtx-ada
"""


def run_report(*targets: TargetReport, class_names: list[str] | None = None) -> RunReport:
    """A whole run; without `targets`, those of the demo."""
    names = class_names or CLASS_NAMES
    return RunReport(
        name="quickstart",
        recipe_yaml=RECIPE,
        data=DataSummary(
            class_names=names,
            train_images=1785,
            val_images=315,
            test_images=524,
            drawn_splits=["val", "test"],
            split_seed=0,
            group_by=None,
            notes=[
                "The ELPV images may be used for non-commercial purposes only (CC BY-NC-SA 4.0)."
            ],
        ),
        teacher=TeacherSummary(
            model="tf_efficientnet_lite0",
            parameters=3_374_000,
            top1_of_view={"rgb": 0.853, "edge": 0.836, "freq": 0.830},
            text_model="tmkd-clip-tiny",
            text_zero_shot_top1=0.781,
        ),
        student=StudentSummary(model="resnet10t", parameters=317_000),
        quantization=QuantizationSummary(
            quantizers=38,
            quantized_layers=13,
            excluded_layers=["fc"],
            calibration="99.99th percentile over 256 training images",
        ),
        targets=targets or (cpu_target(names), rtx_target(names)),
        views=views(names),
        view_weights=view_weights(names),
        machine={"processor": "AMD EPYC 7B13", "cores": "2", "system": "Debian GNU/Linux 12"},
        stages=[
            StageTime("train_teacher", 241.3, False),
            StageTime("score_views", 18.4, False),
            StageTime("distill", 118.2, False),
            StageTime("quantize", 31.0, False),
            StageTime("export", 6.1, True),
            StageTime("measure", 24.9, False),
        ],
        choices=["Distillation gained 2.1 points; the distilled student ships."],
        notes=["The student was trained with one seed, so differences of seeds are not shown."],
        curves={"teacher": curve(8), "distilled": curve(12, kept=9), "baseline": curve(12)},
        fusion=fusion(),
    )


def curve(epochs: int, kept: int | None = None, every: int = 1) -> TrainingCurve:
    """A training that gets better until the epoch `kept`, by default the last."""
    best = kept or epochs
    points = []
    for epoch in range(1, epochs + 1):
        evaluated = epoch % every == 0 or epoch == epochs
        top1 = max(0.1, 0.85 - 0.03 * abs(best - epoch))
        points.append(
            Epoch(
                epoch=epoch,
                loss=2.0 / epoch,
                top1=top1 if evaluated else None,
                nll=1.0 - top1 if evaluated else None,
            )
        )
    return TrainingCurve(epochs=points, planned=epochs, best=best, kept=best)


def fusion() -> Fusion:
    """A softened teacher whose views count equally."""
    numbers = {"standard_error": 0.003, "images": 315}
    return Fusion(
        softness=0.35,
        decisions=[
            Decision(
                part="softness",
                default="1",
                tried="0.35",
                nll_before=0.512,
                nll_after=0.402,
                taken=True,
                **numbers,
            ),
            Decision(
                part="view weights",
                default="even",
                tried="rgb 0.40, edge 0.35, freq 0.25",
                nll_before=0.402,
                nll_after=0.401,
                taken=False,
                **numbers,
            ),
        ],
        notes=["text share: 0 (precomputed text embeddings have no image tower, so no logits)"],
    )


def view_weights(class_names: list[str]) -> ViewWeights:
    """Weights in which rgb leads, the more so the later the class."""
    shift = {name: 0.1 * label / len(class_names) for label, name in enumerate(class_names)}
    return ViewWeights(
        guided_by="label",
        mean={"rgb": 0.44, "edge": 0.31, "freq": 0.25},
        mean_by_class={
            name: {"rgb": 0.4 + by, "edge": 0.33 - by / 2, "freq": 0.27 - by / 2}
            for name, by in shift.items()
        },
        histogram={
            "rgb": [0] * 7 + [700, 1400] + [0] * 11,
            "edge": [0] * 5 + [900, 1200] + [0] * 13,
            "freq": [0] * 4 + [600, 1500] + [0] * 14,
        },
    )


def views(class_names: list[str], count: int = 6, side: int = 96) -> ViewGallery:
    """Bright discs on a dim grid: something in which an edge can be seen."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:side, 0:side]
    images = np.empty((count, 3, side, side, 3), np.uint8)
    for index in range(count):
        x, y = random.uniform(0.3, 0.7, 2)
        radius = random.uniform(0.1, 0.25)
        disc = np.hypot(rows / side - y, columns / side - x) < radius
        cells = 70 + 60 * disc + 25 * ((rows % 24 > 2) & (columns % 24 > 2))
        grey = cells + random.normal(0, 4, cells.shape)
        gradient = np.hypot(*np.gradient(grey))
        for view, pixels in enumerate((grey, grey + 2 * gradient, 128 + 3 * gradient)):
            images[index, view] = np.clip(pixels, 0, 255)[..., None]
    weights = random.dirichlet([4, 3, 3], count)
    captions = [f"cell{index:04d}.png, {class_names[index % 2]}" for index in range(count)]
    return ViewGallery(images=images, weights=weights, captions=captions)


def ledger(class_names: list[str] = CLASS_NAMES, *, with_engine: bool = True) -> list[LedgerRow]:
    p_values = {"student_baseline": 0.0001, "student": 0.021}
    first, second = class_names[:2]
    flips = (
        ClassFlips(
            class_name=second,
            gained=3,
            lost=6,
            still_wrong=0,
            gained_from={first: 3},
            lost_to={first: 6},
        ),
        ClassFlips(
            class_name=first,
            gained=4,
            lost=3,
            still_wrong=0,
            gained_from={second: 4},
            lost_to={second: 3},
        ),
    )
    steps = [
        ("teacher", "fp32", "Teacher", 0.853, None, None),
        ("student_baseline", "fp32", "Baseline student", 0.796, "teacher", (-8.4, -3.0)),
        ("student", "fp32", "Distilled student", 0.826, "teacher", (-4.9, -0.5)),
        ("fake_quantized", "int8", "Fake-quantized student", 0.830, "student", (-0.7, 1.5)),
        ("onnx", "int8", "ONNX, INT8", 0.830, "fake_quantized", (-0.2, 0.2)),
        ("engine", "fp32", "FP32 engine", 0.826, "student", (0.0, 0.0)),
        ("engine", "int8", "INT8 engine", 0.828, "onnx", (-0.6, 0.2)),
    ]
    top1 = {name: value for name, _, _, value, _, _ in steps}
    return [
        LedgerRow(
            representation=name,
            precision=precision,
            label=label,
            top1=value,
            top1_interval=(value - 0.033, value + 0.03),
            macro_recall=value - 0.021,
            agreement_with_teacher=1.0 if name == "teacher" else 0.912,
            expected_calibration_error=0.041 if name == "engine" else 0.034,
            compared_with=compared,
            agreement_with_compared=0.98 if compared else None,
            change_points=100 * (value - top1[compared]) if compared else None,
            change_interval=interval,
            gained=7 if compared else None,
            lost=9 if compared else None,
            p_value=p_values.get(name, 0.8) if compared else None,
            calibration_error_change=0.007 if name == "engine" else 0.0 if compared else None,
            flips=flips if compared else (),
            note=f"The step to '{label}' lost points, most of them in class {second}."
            if name in p_values
            else None,
        )
        for name, precision, label, value, compared, interval in steps
        if with_engine or name != "engine"
    ]


def latency_row(engine: str, label: str, median_ms: float) -> LatencyRow:
    samples = median_ms * np.random.default_rng(7).gamma(60, 1 / 60, 800)
    counts, edges = np.histogram(samples, bins=40)
    p50, p90, p99 = (float(value) for value in np.percentile(samples, (50, 90, 99)))
    return LatencyRow(
        engine=engine,
        label=label,
        runs=len(samples),
        mean_ms=float(samples.mean()),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        p50_interval_ms=(0.98 * p50, 1.02 * p50),
        p99_interval_ms=(0.95 * p99, 1.08 * p99),
        histogram_edges_ms=edges.tolist(),
        histogram_counts=counts.tolist(),
    )


def latency() -> Latency:
    return Latency(
        rows=[
            latency_row("teacher", "Teacher, FP32", 8.6),
            latency_row("fp32", "Distilled student, FP32", 1.94),
            latency_row("int8", "Distilled student, INT8", 1.21),
        ],
        ratios=[
            LatencyRatio(numerator="teacher", denominator="int8", ratio=7.1, interval=(6.9, 7.4)),
            LatencyRatio(numerator="fp32", denominator="int8", ratio=1.6, interval=(1.55, 1.66)),
        ],
        protocol={"warmup_seconds": 1.0, "rounds": 40, "order": "shuffled in each round"},
        machine={"processor": "AMD EPYC 7B13", "threads": 2, "vnni": False},
        warnings=["The load average was 1.8 on 2 cores while latency was measured."],
    )


def latency_with_frames() -> Latency:
    """Whole frames were timed with both engines, and one of them in less than its parts."""
    frame = FrameLatency(
        width=640,
        height=480,
        resizing=latency_row("resizing", "Resizing", 1.02),
        rows=[
            latency_row("fp32", "Distilled student, FP32", 2.9),
            latency_row("int8", "Distilled student, INT8", 2.31),
        ],
    )
    return latency().model_copy(update={"frame": frame})


def engine_file(precision: str, size: int, integer_layers: int | None = None) -> EngineFile:
    return EngineFile(
        precision=precision,
        file=f"engine-{precision}.onnx",
        bytes=size,
        sha256="0" * 64,
        int8_layers=integer_layers,
        total_layers=None if integer_layers is None else 31,
    )


def cpu_measurements(class_names: list[str] | None = None) -> Measurements:
    return Measurements(
        target="cpu",
        runtime="onnxruntime",
        class_names=class_names or CLASS_NAMES,
        test_images=524,
        engines=[engine_file("fp32", 1_272_000), engine_file("int8", 341_500, 24)],
        ledger=ledger(class_names or CLASS_NAMES),
        confusion_by_engine={
            "fp32": [[330, 38], [53, 103]],
            "int8": [[331, 37], [53, 103]],
        },
        latency=latency(),
        teacher_parameters=3_374_000,
        student_parameters=317_000,
    )


def gate_record(measured: Measurements, reason: str, **budgets: float) -> GateRecord:
    """INT8 is selected, for this reason."""
    verdict = evaluate(Budgets(**budgets), measured, "int8")
    return GateRecord(
        would_ship="int8",
        shipped=None if verdict.outcome is Outcome.FAILED else "int8",
        reason=reason,
        verdict=verdict,
        measurements=measured,
    )


def cpu_gate(measured: Measurements | None = None, **budgets: float) -> GateRecord:
    return gate_record(
        measured or cpu_measurements(),
        "It is the fastest engine that meets the budgets.",
        **(budgets or {"latency_p99_ms": 3.0, "accuracy": 0.78}),
    )


def with_measurements(target: TargetReport, **changes: Any) -> TargetReport:
    """The same target with other measurements."""
    measured = target.gate.measurements.model_copy(update=changes)
    gate = target.gate.model_copy(update={"measurements": measured})
    return dataclasses.replace(target, gate=gate)


def cpu_target(class_names: list[str] | None = None, **budgets: float) -> TargetReport:
    measured = cpu_measurements(class_names)
    return TargetReport(
        gate=cpu_gate(measured, **budgets),
        bundle_file="quickstart-cpu.tmkd",
        bundle_bytes=398_112,
    )


def rtx_target(class_names: list[str] | None = None) -> TargetReport:
    measured = cpu_measurements(class_names).model_copy(
        update={
            "target": "rtx-ada",
            "runtime": "tensorrt_rtx",
            "engines": [engine_file("fp16", 812_000, 0), engine_file("int8", 503_000, 24)],
            "ledger": ledger(class_names or CLASS_NAMES, with_engine=False),
            "confusion_by_engine": {},
            "latency": None,
            "not_measured": NOT_MEASURED,
        }
    )
    return TargetReport(
        gate=gate_record(
            measured,
            "No engine could be timed here, and INT8 is the first choice.",
            latency_p50_ms=1.0,
        ),
        bundle_file=None,
        bundle_bytes=None,
    )
