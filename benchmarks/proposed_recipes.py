"""What `recipe init --data` proposes for four real data sets: does the teacher lead the student?

python -m benchmarks.proposed_recipes --data-root DIR --seeds 0 1 2 3 4

Each recipe is written by `recipe init` and used as it is, up to the student: the seed alone varies.
`DIR` holds `neu-det`, `magnetic-tile` and `cifar100` as Parquet shards; the images of elpv-dataset
and 100 images of each of twenty CIFAR-100 classes are written into class folders. A finished run is
kept as long as its recipe is unchanged, and an interrupted one is resumed. The figures go to
benchmarks/results/proposed_recipes.json and the table to proposed_recipes.md next to it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.demo_seeds import REPOSITORY, package_commit, processor_seconds
from tmkd_deploy.artifacts import write_text
from tmkd_deploy.data.sources import read_source
from tmkd_deploy.measure.latency import machine
from tmkd_deploy.recipe.schema import Data

Result = dict[str, Any]
SETS = ("elpv", "neu-det", "magnetic-tile", "cifar20")
CLASSES = 20
PER_CLASS = 100
STOPPED = 1


def main() -> None:
    """Run what has no result yet, and write the figures and the table after each run."""
    arguments = _arguments()
    file = arguments.results / "proposed_recipes.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"runs": []}
    for seed in arguments.seeds:
        for name in arguments.sets:
            recipe = proposed(name, arguments.data_root, arguments.work)
            made_by = hashlib.sha256(recipe.read_bytes()).hexdigest()
            key = {"set": name, "seed": seed, "recipe_sha256": made_by}
            if any(key.items() <= each.items() for each in found["runs"]):
                continue
            result = {**key, **run(recipe, seed, arguments.work / "runs")}
            print(json.dumps(result), flush=True)
            others = [e for e in found["runs"] if (e["set"], e["seed"]) != (name, seed)]
            found = {
                "command": "python -m benchmarks.proposed_recipes " + " ".join(sys.argv[1:]),
                "commit": package_commit(),
                "machine": machine(),
                "runs": sorted([*others, result], key=lambda e: (SETS.index(e["set"]), e["seed"])),
            }
            write_text(file, json.dumps(found, indent=1) + "\n")
            write_text(file.with_suffix(".md"), page(found))


def proposed(name: str, root: Path, work: Path) -> Path:
    """The recipe that `recipe init` writes for a data set."""
    data = {"elpv": elpv, "cifar20": cifar20}.get(name, lambda *_: root / name)(root, work)
    recipe = work / f"{name}.yaml"
    recipe.unlink(missing_ok=True)
    command = ["recipe", "init", str(recipe), "--data", str(data), "--name", name]
    subprocess.run([sys.executable, "-m", "tmkd_deploy", *command], check=True, capture_output=True)
    return recipe


def elpv(_: Path, work: Path) -> Path:
    """The solar cells in class folders; defective is a probability above 0.5."""
    folder = work / "data" / "elpv"
    if not folder.exists():
        cells = read_source(Data(source="elpv"))
        for row, label in enumerate(cells.labels):
            file = folder / cells.class_names[label] / f"{row:04}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(cells.read(row))
    return folder


def cifar20(root: Path, work: Path) -> Path:
    """The first `PER_CLASS` training images of every fifth class of CIFAR-100."""
    folder = work / "data" / "cifar20"
    if not folder.exists():
        counts: Counter[str] = Counter()
        for shard in sorted((root / "cifar100").glob("train-*.parquet")):
            table = pq.read_table(shard)
            every = json.loads(table.schema.metadata[b"class_names"])
            names = every[:: 100 // CLASSES]
            for image, label in zip(table["image"], table["label"], strict=True):
                name = every[label.as_py()]
                if name in names and counts[name] < PER_CLASS:
                    (folder / name).mkdir(parents=True, exist_ok=True)
                    file = folder / name / f"{counts[name]:03}.png"
                    file.write_bytes(image["bytes"].as_py())
                    counts[name] += 1
    return folder


def run(recipe: Path, seed: int, runs: Path) -> Result:
    """Distil with the recipe as it is.

    Raises:
        RuntimeError: the run failed for another reason than a weak teacher.
    """
    folder = runs / f"{recipe.stem}-{seed}"
    resumed = folder.exists()
    command = [sys.executable, "-m", "tmkd_deploy", "distill", str(recipe), "--runs", str(folder)]
    before = processor_seconds()
    done = subprocess.run(
        [*command, "--set", f"seed={seed}", "--quiet"], check=False, capture_output=True, text=True
    )
    spent = processor_seconds() - before
    stopped = done.returncode == STOPPED and "teacher" in done.stderr
    if done.returncode and not stopped:
        raise RuntimeError(f"{recipe.stem}, seed {seed}: {done.stderr}")
    (manifest,) = folder.glob("*/distill/manifest.json")
    record = json.loads(manifest.read_text(encoding="utf-8"))["record"]
    (teacher,) = folder.glob("*/train_teacher/manifest.json")
    by_view = json.loads(teacher.read_text(encoding="utf-8"))["record"]["top1_by_view"]
    alone = record["candidates"]["baseline"]["top1"]
    shutil.rmtree(folder)
    return {
        "validation_images": record["gain"]["images"],
        "teacher_rgb": by_view["rgb"],
        "teacher": alone + record["teacher_gain"]["points"] / 100,
        "baseline": alone,
        "distilled": record["candidates"]["distilled"]["top1"],
        "teacher_lead": record["teacher_gain"],
        "distillation_gain": record["gain"],
        "stopped": stopped,
        "said": record["weak_teacher"] or record["choice"],
        "processor_seconds": None if resumed else round(spent, 1),
    }


def page(found: Result) -> str:
    """The Markdown page."""
    on = found["machine"]
    lines = [
        "# What `recipe init` proposes, on four real data sets",
        "",
        f"*Written by `{found['command']}`; do not edit.*",
        "",
        "Top-1 on the validation images, in percent, of recipes as `recipe init --data` writes "
        "them. The teacher, from which the student learns, is fused over its views; RGB is its "
        "top-1 on the images alone. Alone is the student trained without teachers on the same "
        "schedule. The run says so where the teacher does not lead that student, and stops where "
        "the teacher is significantly worse. A run that was interrupted and resumed has no time. "
        "Measured with "
        f"the package at commit {found['commit'] or 'unknown'} on {on['processor']} "
        f"({on['cores']} cores).",
        "",
        "| Data | Seed | Images | RGB | Teacher | Alone | Distilled | Teacher's lead, points | "
        "Distillation's gain, points | Processor minutes | Stopped |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for each in found["runs"]:
        lines.append(
            f"| `{each['set']}` | {each['seed']} | {each['validation_images']} "
            f"| {100 * each['teacher_rgb']:.1f} | {100 * each['teacher']:.1f} "
            f"| {100 * each['baseline']:.1f} "
            f"| {100 * each['distilled']:.1f} | {_points(each['teacher_lead'])} "
            f"| {_points(each['distillation_gain'])} | {_minutes(each['processor_seconds'])} "
            f"| {'yes' if each['stopped'] else 'no'} |"
        )
    lines += ["", "Medians over the seeds:", "", "| Data | Seeds | Teacher | Alone | Distilled |"]
    lines.append("|---|---:|---:|---:|---:|")
    for name in SETS:
        runs = [each for each in found["runs"] if each["set"] == name]
        if runs:
            medians = [
                f"{100 * statistics.median(each[key] for each in runs):.1f}"
                for key in ("teacher", "baseline", "distilled")
            ]
            lines.append(f"| `{name}` | {len(runs)} | {' | '.join(medians)} |")
    return "\n".join(lines) + "\n"


def _minutes(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 60:.0f}"


def _points(gain: Result) -> str:
    low, high = gain["interval"]
    text = f"{gain['points']:+.1f} ({low:+.1f} to {high:+.1f})"
    return text.replace("-", "−")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.proposed_recipes",
        description="Distil with the recipes that `recipe init` proposes for four data sets.",
    )
    add = parser.add_argument
    add("--data-root", type=Path, required=True, help="folder of the Parquet data sets")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    add("--sets", nargs="+", choices=SETS, default=list(SETS))
    add("--work", type=Path, default=Path("runs/proposed_recipes"))
    add("--results", type=Path, default=REPOSITORY / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
