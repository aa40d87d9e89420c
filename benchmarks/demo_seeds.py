"""The demo's whole recipe over several training seeds: does every step improve the result?

python -m benchmarks.demo_seeds --seeds 0 1 2 3 4

Only the training seed varies; the split of the data is the recipe's. Each seed has its own run
folder, so its processor time is that of a complete run. An interrupted seed starts over; a finished
one is kept as long as the recipe and the overrides are unchanged. The figures go to
benchmarks/results/demo_seeds.json and the table to demo_seeds.md next to it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from tmkd_deploy import __version__
from tmkd_deploy.artifacts import write_text
from tmkd_deploy.measure.latency import machine

REPOSITORY = Path(__file__).parents[1]
TARGET = "cpu"
OUTCOMES = {0: "passed", 1: "failed", 3: "inconclusive"}

Result = dict[str, Any]


def main() -> None:
    """Run the seeds that have no result yet, and write the figures and the table after each."""
    arguments = _arguments()
    file = arguments.results / "demo_seeds.json"
    recipe_sha256 = fingerprint(arguments.recipe, arguments.set)
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    seeds: dict[int, Result] = {}
    if results.get("recipe_sha256") == recipe_sha256:
        seeds = {each["seed"]: each for each in results["seeds"]}
    for seed in arguments.seeds:
        if seed not in seeds:
            seeds[seed] = run(arguments.recipe, seed, arguments.set, arguments.runs)
            print(f"Seed {seed}: {json.dumps(seeds[seed])}", flush=True)
            results = {**_provenance(arguments), "recipe_sha256": recipe_sha256}
        results["seeds"] = [seeds[each] for each in sorted(seeds)]
        write_text(file, json.dumps(results, indent=1) + "\n")
        write_text(file.with_suffix(".md"), page(results))
    print(table(results["seeds"]))


def run(recipe: Path, seed: int, overrides: Sequence[str], runs: Path) -> Result:
    """Run the whole recipe with one training seed and read its figures.

    Raises:
        RuntimeError: the run ended without a verdict.
    """
    folder = runs / f"seed-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "tmkd_deploy", "run", str(recipe), "--runs", str(folder)]
    for each in [f"seed={seed}", *overrides]:
        command += ["--set", each]
    before = processor_seconds()
    done = subprocess.run([*command, "--quiet"], check=False, stdout=subprocess.DEVNULL)
    spent = processor_seconds() - before
    if done.returncode not in OUTCOMES:
        raise RuntimeError(f"Seed {seed}: the run ended with exit code {done.returncode}.")
    (summary,) = folder.glob("*/summary.json")
    return {
        "seed": seed,
        "gate": OUTCOMES[done.returncode],
        **figures(json.loads(summary.read_text(encoding="utf-8"))),
        "processor_seconds": round(spent, 1),
    }


def figures(summary: Result) -> Result:
    """The figures of one run, from its `summary.json`."""
    target = summary["targets"][TARGET]
    top1 = {(row["representation"], row["precision"]): row["top1"] for row in target["ledger"]}
    speedup, interval = _ratio(target["latency"]["ratios"], "fp32", "int8")
    return {
        "top1": {
            "teacher": top1["teacher", "fp32"],
            "baseline": top1["student_baseline", "fp32"],
            "distilled": top1["student", "fp32"],
            "fake_quantized": top1["fake_quantized", "int8"],
            "int8_engine": top1["engine", "int8"],
        },
        "test_images": target["test_images"],
        "shipped": target["shipped"] and target["shipped"]["engine"],
        "int8_speedup_over_fp32": speedup,
        "int8_speedup_interval": interval,
        "engine_bytes": {each["precision"]: each["bytes"] for each in target["engines"]},
        "checks": {each["budget"]: each["outcome"] for each in target["verdict"]["checks"]},
    }


def _ratio(ratios: list[Result], slow: str, fast: str) -> tuple[float, list[float]]:
    """The latency of `slow` over that of `fast`, whichever way round it was recorded."""
    found = {(each["numerator"], each["denominator"]): each for each in ratios}
    if each := found.get((slow, fast)):
        return each["ratio"], each["interval"]
    each = found[fast, slow]
    low, high = each["interval"]
    return 1 / each["ratio"], [1 / high, 1 / low]


def page(results: Result) -> str:
    """The Markdown page: what ran where, and the table."""
    images = results["seeds"][0]["test_images"]
    on = results["machine"]
    return (
        "# The demo over several seeds\n\n"
        f"*Written by `{results['command']}`; do not edit.*\n\n"
        f"Top-1 of `recipes/{results['recipe']}` on {images} test images. Only the training seed "
        "varies. The baseline student is trained without a teacher on the same schedule. Measured, "
        "and judged by the budgets of that time, with the package at commit "
        f"{results['commit'] or 'unknown'} on {on['processor']} ({on['cores']} cores).\n\n"
        + table(results["seeds"])
    )


def table(seeds: Sequence[Result]) -> str:
    """One column per seed, then the median and the range; differences are paired by seed."""
    columns = ["", *(f"seed {each['seed']}" for each in seeds), "median", "min to max"]
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)]]
    for title, read, form in _ROWS:
        values = [read(each) for each in seeds]
        span = f"{_shown(min(values), form)} to {_shown(max(values), form)}"
        cells = [_shown(value, form) for value in [*values, statistics.median(values)]]
        lines.append([title, *cells, span])
    gates = [each["gate"] for each in seeds]
    lines.append(["Gate", *gates, f"{gates.count('passed')} of {len(seeds)} passed", ""])
    shipped = [each["shipped"] or "none" for each in seeds]
    lines.append(["Shipped", *shipped, f"{shipped.count('int8')} of {len(seeds)} int8", ""])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def fingerprint(recipe: Path, overrides: Sequence[str]) -> str:
    """SHA-256 of the overrides and of the recipe's keys and values, except for the budgets.

    A budget changes the verdict and none of the figures.
    """
    values = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    for target in values.get("targets", []):
        target.pop("budgets", None)
    text = json.dumps([values, *overrides], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _shown(value: float, form: str) -> str:
    shown = form.format(value)
    return "0.0" if shown in ("+0.0", "-0.0") else shown.replace("-", "−")


def _top1(name: str) -> Callable[[Result], float]:
    return lambda result: 100 * float(result["top1"][name])


def _less(name: str, other: str) -> Callable[[Result], float]:
    return lambda result: 100 * float(result["top1"][name] - result["top1"][other])


_ROWS: list[tuple[str, Callable[[Result], float], str]] = [
    ("Teacher, %", _top1("teacher"), "{:.1f}"),
    ("Baseline student, %", _top1("baseline"), "{:.1f}"),
    ("Distilled student, %", _top1("distilled"), "{:.1f}"),
    ("Fake-quantized student, %", _top1("fake_quantized"), "{:.1f}"),
    ("INT8 engine, %", _top1("int8_engine"), "{:.1f}"),
    ("Teacher − baseline, points", _less("teacher", "baseline"), "{:+.1f}"),
    ("Distilled − baseline, points", _less("distilled", "baseline"), "{:+.1f}"),
    ("INT8 engine − distilled, points", _less("int8_engine", "distilled"), "{:+.1f}"),
    ("INT8 speed-up over FP32", lambda each: each["int8_speedup_over_fp32"], "{:.2f}"),
    ("… lower end of its 95 % interval", lambda each: each["int8_speedup_interval"][0], "{:.2f}"),
    ("… upper end", lambda each: each["int8_speedup_interval"][1], "{:.2f}"),
    ("Processor minutes", lambda each: each["processor_seconds"] / 60, "{:.1f}"),
]


def processor_seconds() -> float:
    """User and system time of all finished child processes and their children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _provenance(arguments: argparse.Namespace) -> Result:
    return {
        "command": "python -m benchmarks.demo_seeds " + " ".join(sys.argv[1:]),
        "recipe": arguments.recipe.name,
        "overrides": arguments.set,
        "commit": package_commit(),
        "versions": {
            "tmkd-deploy": __version__,
            **{name: version(name) for name in ("torch", "timm", "onnxruntime")},
        },
        "machine": machine(),
    }


def package_commit() -> str | None:
    """The last commit that changed the package, marked if its files were modified since."""
    try:
        commit = _git("log", "-1", "--format=%h", "--abbrev=12", "--", "tmkd_deploy")
        return commit + ("-dirty" if _git("status", "--porcelain", "--", "tmkd_deploy") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.demo_seeds",
        description="Run the demo's recipe once per training seed and tabulate the figures.",
    )
    add = parser.add_argument
    add("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    add("--recipe", type=Path, default=REPOSITORY / "recipes" / "quickstart.yaml")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe key")
    add("--runs", type=Path, default=Path("runs/demo_seeds"), help="folder of the run folders")
    add("--results", type=Path, default=REPOSITORY / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
