"""Train what is missing, measure what is missing, write the page."""

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
from benchmarks.quantizability.families import FAMILIES, PLAN, Place
from benchmarks.quantizability.table import read, write_page
from tmkd_deploy.measure.latency import machine

COMMAND = "python -m benchmarks.quantizability"


def main() -> None:
    """Run the parts asked for; a part that a family's result holds is not run again."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--parts", nargs="+", choices=list(_PARTS), default=list(_PARTS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="students trained at a time")
    parser.add_argument("--work", type=Path, default=Path("runs/quantizability"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/quantizability"))
    parser.add_argument("--page", type=Path, default=Path("docs/explanation/students.md"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    place = Place(chosen.work, chosen.results)
    # torch, once loaded, does not survive a fork
    context = multiprocessing.get_context("spawn")
    seeds = range(chosen.seeds)
    with ProcessPoolExecutor(chosen.workers, mp_context=context) as pool:
        trainings = [
            pool.submit(train.train, place, family, seed)
            for seed in seeds
            for family in chosen.families
        ]
        for training in trainings:
            print("Trained", training.result(), flush=True)
    for part in chosen.parts:
        for family in chosen.families:
            _PARTS[part](place, family, list(seeds))
    if read(place.results):
        write_page(place.results, chosen.page)


def _accuracy(place: Place, family: str, seeds: list[int]) -> None:
    kept: list[dict[str, Any]] = _read(place, family).get("accuracy", [])
    for seed in seeds:
        if seed not in {row["seed"] for row in kept}:
            kept = [*kept, *accuracy.measure(place, family, seed)]
            _write(place, family, {"accuracy": kept})


def _latency(place: Place, family: str, seeds: list[int]) -> None:
    if "latency" not in _read(place, family):
        _write(place, family, engines.time(place, family, seeds[0]))


def _build(place: Place, family: str, seeds: list[int]) -> None:
    if "tensorrt_rtx" not in _read(place, family):
        _write(place, family, engines.build(place, family, seeds[0]))


_PARTS: dict[str, Callable[[Place, str, list[int]], None]] = {
    "accuracy": _accuracy,
    "build": _build,
    # last, when nothing else of this program runs
    "latency": _latency,
}


def _read(place: Place, family: str) -> dict[str, Any]:
    file = place.result(family)
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


def _write(place: Place, family: str, more: dict[str, Any]) -> None:
    file = place.result(family)
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
        **_read(place, family),
        **more,
    }
    part = file.with_suffix(".part")
    part.write_text(json.dumps(found, indent=1) + "\n")
    part.rename(file)
    print("Wrote", family, ", ".join(more), flush=True)


if __name__ == "__main__":
    main()
