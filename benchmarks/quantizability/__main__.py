"""Train and measure what has no result yet, then write the page."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import onnxruntime
import timm
import torch

from benchmarks.quantizability import accuracy, engines, train
from benchmarks.quantizability.families import FAMILIES, PLAN, Paths
from benchmarks.quantizability.table import read, write_page
from tmkd_deploy.measure.latency import machine

COMMAND = "python -m benchmarks.quantizability"


def main() -> None:
    """Run the selected parts, skipping those that a family's result already holds."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--parts", nargs="+", choices=list(_PARTS), default=list(_PARTS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="concurrent trainings")
    parser.add_argument("--work", type=Path, default=Path("runs/quantizability"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/quantizability"))
    parser.add_argument("--page", type=Path, default=Path("docs/explanation/students.md"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    paths = Paths(arguments.work, arguments.results)
    # torch does not support forking after it is loaded
    context = multiprocessing.get_context("spawn")
    seeds = range(arguments.seeds)
    with ProcessPoolExecutor(arguments.workers, mp_context=context) as pool:
        trainings = [
            pool.submit(train.train, paths, family, seed)
            for seed in seeds
            for family in arguments.families
        ]
        for training in trainings:
            print("Trained", training.result(), flush=True)
    for part in arguments.parts:
        for family in arguments.families:
            _PARTS[part](paths, family, list(seeds))
    if read(paths.results):
        write_page(paths.results, arguments.page)


def _accuracy(paths: Paths, family: str, seeds: list[int]) -> None:
    rows: list[dict[str, Any]] = _read(paths, family).get("accuracy", [])
    for seed in seeds:
        if seed not in {row["seed"] for row in rows}:
            rows = [*rows, *accuracy.measure(paths, family, seed)]
            _write(paths, family, {"accuracy": rows})


def _latency(paths: Paths, family: str, seeds: list[int]) -> None:
    if "latency" not in _read(paths, family):
        _write(paths, family, engines.time(paths, family, seeds[0]))


def _race(paths: Paths, family: str, seeds: list[int]) -> None:
    if "race" not in _read(paths, family):
        from benchmarks.quantizability.race import race  # noqa: PLC0415 - needs NNCF

        _write(paths, family, {"race": race(paths, family, seeds[0])})


def _build(paths: Paths, family: str, seeds: list[int]) -> None:
    if "tensorrt_rtx" not in _read(paths, family):
        _write(paths, family, engines.build(paths, family, seeds[0]))


_PARTS: dict[str, Callable[[Paths, str, list[int]], None]] = {
    "accuracy": _accuracy,
    "build": _build,
    # last, when this program runs nothing else
    "latency": _latency,
    "race": _race,
}


def _read(paths: Paths, family: str) -> dict[str, Any]:
    file = paths.result(family)
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


def _write(paths: Paths, family: str, more: dict[str, Any]) -> None:
    file = paths.result(family)
    file.parent.mkdir(parents=True, exist_ok=True)
    found = {
        "family": family,
        "command": COMMAND,
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "timm": timm.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        "training": {
            "data": "Fashion-MNIST",
            "pixels": PLAN.size,
            "images": PLAN.train_images,
            "epochs": PLAN.epochs,
            "test_images": PLAN.test_images,
        },
        **_read(paths, family),
        **more,
    }
    part = file.with_suffix(".part")
    part.write_text(json.dumps(found, indent=1) + "\n")
    part.rename(file)
    print("Wrote", family, ", ".join(more), flush=True)


if __name__ == "__main__":
    main()
