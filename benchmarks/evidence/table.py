"""The table: means, intervals and paired differences over seeds, written as Markdown."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.evidence.plans import FULL, SHORT, Plan
from benchmarks.evidence.rows import ROWS

TITLES = {
    "cifar100": "CIFAR-100",
    "neu-det": "NEU-DET (steel surface)",
    "magnetic-tile": "Magnetic tile",
    "elpv": "ELPV (solar cells)",
    "fashion-mnist": "Fashion-MNIST",
}
# ResNet-56 to ResNet-20 after 240 epochs, as published with mdistiller and CRD
ANCHORS = {"supervised": 69.06, "kd": 70.66, "dkd": 71.97}

Runs = dict[str, dict[int, dict[str, Any]]]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with the half width of its 95 % interval by Student's t, and a p-value.

    The p-value tests a mean of zero. Both are None for a single seed.
    """

    mean: float
    half_width: float | None
    p_value: float | None


def estimate(values: list[float]) -> Estimate:
    """Mean, interval and two-sided p-value of `values`."""
    from scipy import stats  # noqa: PLC0415 - running the rows does not need it

    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return Estimate(mean, None, None)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    error = math.sqrt(variance / len(values))
    free = len(values) - 1
    half_width = float(stats.t.ppf(0.975, free)) * error
    if error == 0.0:
        return Estimate(mean, half_width, 1.0 if mean == 0.0 else 0.0)
    return Estimate(mean, half_width, float(2 * stats.t.sf(abs(mean) / error, free)))


def write_table(results: Path, file: Path) -> None:
    """Render every result below `results` into `file`."""
    parts = [_PREFACE]
    schedules = {"full": FULL, "short": SHORT}
    for schedule, plans in schedules.items():
        found = {name: _read(results / schedule / name) for name in plans}
        found = {name: runs for name, runs in found.items() if runs}
        if not found:
            parts.append(_ABSENT[schedule])
            continue
        parts.append(_HEADINGS[schedule])
        parts.append(_summary(found))
        parts.append(_contributions(found))
        parts.extend(_section(name, runs, plans[name], schedule) for name, runs in found.items())
    parts.append(_HOW)
    file.write_text("\n".join(parts), encoding="utf-8")


def _read(folder: Path) -> Runs:
    runs: Runs = {}
    for file in sorted(folder.glob("*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        runs.setdefault(result["row"], {})[result["seed"]] = result
    return {row: runs[row] for row in ROWS if row in runs}


def _difference(runs: Runs, row: str, base: str = "kd") -> Estimate | None:
    """The row's difference from the row `base` in points of top-1, paired by seed."""
    if row == base or not {row, base} <= runs.keys():
        return None
    seeds = sorted(runs[row].keys() & runs[base].keys())
    if not seeds:
        return None
    return estimate([100 * (runs[row][s]["top1"] - runs[base][s]["top1"]) for s in seeds])


def _summary(found: dict[str, Runs]) -> str:
    shown = {ROWS[row].title: (row, "kd") for row in ROWS if row != "kd"}
    lines = [
        *_differences(found, shown),
        "",
        "Difference from KD in points of top-1, paired by seed. \\* p < 0.05, \\*\\* p < 0.01 in a "
        "paired t-test, not corrected for the number of comparisons.",
    ]
    for row in ("tmkd-kd", "tmkd-dkd"):
        differences = [each for runs in found.values() if (each := _difference(runs, row))]
        ahead = sum(each.mean > 0 for each in differences)
        significant = sum(each.mean > 0 and _is_significant(each) for each in differences)
        behind = sum(each.mean < 0 and _is_significant(each) for each in differences)
        lines.append(
            f"{ROWS[row].title} is ahead of KD on {ahead} of {len(differences)} data sets "
            f"(p < 0.05 on {significant}), and behind it with p < 0.05 on {behind}."
        )
    return "\n".join(lines) + "\n"


def _contributions(found: dict[str, Runs]) -> str:
    """What each part of TMKD contributes: all of TMKD against TMKD without that part."""
    parts = {
        "three views": "no-views",
        "text weights": "no-text-weights",
        "feature term": "no-feature",
        "contrastive term": "no-contrastive",
    }
    return "\n".join(
        [
            "What each part adds: TMKD (KD) minus TMKD (KD) without that part. A positive figure "
            "means that the part helps.",
            "",
            *_differences(found, {part: ("tmkd-kd", row) for part, row in parts.items()}),
            "",
        ]
    )


def _differences(found: dict[str, Runs], shown: dict[str, tuple[str, str]]) -> list[str]:
    """A Markdown table: by title, the difference of a row to a base on each data set."""
    lines = [
        "| | " + " | ".join(TITLES[name] for name in found) + " | mean over data sets |",
        "|---|" + "---|" * (len(found) + 1),
    ]
    for title, (row, base) in shown.items():
        differences = [_difference(runs, row, base) for runs in found.values()]
        means = [each.mean for each in differences if each]
        cells = [f"{each.mean:+.2f}{_stars(each)}" if each else "–" for each in differences]
        overall = f"{sum(means) / len(means):+.2f}" if means else "–"
        lines.append(f"| {title} | {' | '.join(cells)} | {overall} |")
    return lines


def _section(name: str, runs: Runs, plan: Plan, schedule: str) -> str:
    one = next(iter(next(iter(runs.values())).values()))
    lines = [
        f"### {TITLES[name]}",
        "",
        f"{one['train_images']} training images, {one['test_images']} test images, "
        f"{plan.size} × {plan.size} pixels"
        + (f", the first {plan.classes} classes" if plan.classes else "")
        + f"; {plan.teacher} to {plan.student}, {plan.epochs} epochs, "
        f"{plan.optimizer}, {plan.augment}, {plan.teacher_outputs} teacher outputs.",
        _teachers_line(runs),
        "",
        "| row | seeds | top-1, % | macro recall, % | difference from KD | p | teacher passes | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines.extend(_line(row, runs) for row in runs)
    if name == "cifar100" and schedule == "full":
        shown = ", ".join(f"{ROWS[row].title} {top1:.2f}" for row, top1 in ANCHORS.items())
        lines.extend(["", f"Published under this schedule: {shown}."])
    machines = {
        f"{run['machine']['device']}, {run['machine']['threads']} thread(s) per run, "
        f"torch {run['machine']['torch']}"
        for seeds in runs.values()
        for run in seeds.values()
    }
    lines.extend(["", f"Machine: {'; '.join(sorted(machines))}.", ""])
    return "\n".join(lines)


def _teachers_line(runs: Runs) -> str:
    shown = []
    for row, kind in (("kd", "RGB teacher"), ("tmkd-kd", "three-view teacher")):
        if row in runs:
            top1 = next(iter(runs[row].values()))["teacher_top1"]
            views = ", ".join(f"{view} {100 * share:.1f}" for view, share in top1.items())
            shown.append(f"{kind}: {views}")
    return f"Top-1 of the teachers by view, %: {'; '.join(shown)}."


def _line(row: str, runs: Runs) -> str:
    seeds = runs[row].values()
    top1 = estimate([100 * run["top1"] for run in seeds])
    recall = estimate([100 * run["macro_recall"] for run in seeds])
    difference = _difference(runs, row)
    cells = [
        ROWS[row].title,
        str(len(seeds)),
        _shown(top1),
        _shown(recall),
        _shown(difference, signed=True) if difference else "–",
        f"{difference.p_value:.3f}" if difference and difference.p_value is not None else "–",
        str(next(iter(seeds))["teacher_passes_per_image"]),
        f"{math.fsum(run['seconds'] for run in seeds) / len(seeds):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _shown(value: Estimate, *, signed: bool = False) -> str:
    mean = f"{value.mean:+.2f}" if signed else f"{value.mean:.2f}"
    return mean if value.half_width is None else f"{mean} ± {value.half_width:.2f}"


def _is_significant(value: Estimate) -> bool:
    return value.p_value is not None and value.p_value < 0.05


def _stars(value: Estimate) -> str:
    if value.p_value is None or value.p_value >= 0.05:
        return ""
    return "\\*\\*" if value.p_value < 0.01 else "\\*"


_PREFACE = """\
# The evidence

*Written by `python -m benchmarks.evidence`; do not edit. The underlying results are in
`benchmarks/results/evidence/`, one file per run.*

Does TMKD teach a student better than knowledge distillation (KD) from the same kind of teacher? Each row below is the
same code with other constants, over several seeds; all rows of a data set share one schedule and one augmentation.
Seeds change the student's initial weights, the order of the images and their augmentation. Each data set has one pair
of teachers, so the intervals do not include variation between teachers. KD and DKD learn from a teacher trained on
RGB images, TMKD from one trained for as long on all three views. All constants were fixed before the first run and
are the same everywhere (`benchmarks/evidence/rows.py`); none was tuned on a test split.

"Teacher passes" counts the visual teacher's forward passes for each image that a student sees. ± is half the width of
a 95 % interval by Student's t. "s" is the time in seconds to train a student, on a machine that did other work at the
same time, so it does not measure speed. With few seeds the intervals are wide: a difference that is not significant
may still exist.

**Read the short schedule's gains in top-1 with care.** The students' subsets have equally many images of each class,
while teachers and test splits keep the natural shares. Any teacher therefore passes on how frequent classes are, which
raises top-1 and lowers the recall of rare classes: over the five data sets, TMKD (KD) gains 1.56 points of top-1 over KD
and loses 1.32 of macro recall; without magnetic tile, it gains 0.37 and loses 0.25. On ELPV the teachers are no better
than the student. Magnetic tile shows tiles in several exposures, some of them in both of its splits. The
[comparisons](comparisons.md) have a protocol without these flaws.
"""
_HEADINGS = {
    "full": "## Full schedule\n",
    "short": "## Short schedule\n\nSubsets and few epochs, for two CPU cores: these rows can be compared with one "
    "another, but not with published results. The students learn from few images; the teachers had the whole "
    "training split (ten classes of it on CIFAR-100, 6,000 images on Fashion-MNIST).\n\nThe subsets, optimizer and "
    "teachers of this schedule were changed three times after first runs, for reasons recorded in "
    "`benchmarks/evidence/plans.py` and `teachers.py`: students without a teacher had reached the ceiling, teachers "
    "had been weaker than students, and KD had looked too weak on CIFAR-100. The constants of the rows were not "
    "changed.\n",
}
_ABSENT = {
    "full": "## Full schedule\n\nNot run yet: it needs a GPU. On a machine with one, run "
    "`python -m benchmarks.evidence --data-root DIR`.\n",
    "short": "",
}
_HOW = """\
## Running it

    python -m benchmarks.evidence --data-root DIR

`benchmarks/README.md` describes the content of `DIR`. The command runs every row that has no result yet and writes
this page. Everything except CIFAR-100 needs `tmkd-deploy[train,demo]`; the CIFAR-100 rows need only torch, timm,
NumPy, pyarrow and safetensors.
"""
