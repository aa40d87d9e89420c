"""Train students until the minutes are over, and write what they reach."""

from __future__ import annotations

import argparse
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.cifar_gpu.crops import CROPS
from benchmarks.cifar_gpu.page import page
from benchmarks.cifar_gpu.plan import BATCH, EPOCHS, ROWS, TUNING_EPOCHS
from benchmarks.cifar_gpu.signals import Images, Signals, Teachers
from benchmarks.cifar_gpu.student import Student
from benchmarks.demo_seeds import REPOSITORY, package_commit
from tmkd_deploy.artifacts import write_text
from tmkd_deploy.data.sources import read_source
from tmkd_deploy.distill.text_embeddings import read_embeddings
from tmkd_deploy.measure.latency import machine
from tmkd_deploy.recipe.schema import Data

_PROBE_SECONDS = 15
_ROUNDS_PER_LOOK = 100


def main() -> None:
    """Teachers first, then all students in turns."""
    begun, given = time.monotonic(), _arguments()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    data = read_source(Data(source="parquet", path=given.data_root / "cifar100"))
    train, test = (_images(data, split, given.images, device) for split in ("train", "test"))
    weights = given.data_root / "weights"
    texts = read_embeddings(weights / "cifar100_clip_vit_b32_text.safetensors", data.class_names)
    published = weights / "cifar100_resnet56.safetensors"
    teachers = Teachers(train, published, texts, given.work, given.tuning_epochs)
    signals: dict[str | None, Signals | None] = {None: None}
    for kind in dict.fromkeys(ROWS[name].outputs for name in given.rows):
        if kind is not None:
            signals[kind] = teachers.signals(kind, given.crops)
            print(f"{kind} cached after {time.monotonic() - begun:.0f} s", flush=True)
    students = {}
    for seed in given.seeds:
        for name in given.rows:
            of_row, of_classes = signals[ROWS[name].outputs], texts.mean(dim=0)
            student = Student(
                ROWS[name], seed, train, of_row, of_classes, given.crops, given.epochs
            )
            file = given.work / f"{name}-{seed}.pt"
            if file.exists():
                student.load(file)
            students[name, seed] = student
    if given.probe:
        _probe(list(students.values()))
        return
    run(list(students.values()), begun + 60 * given.minutes)
    found = []
    for (name, seed), student in students.items():
        student.save(given.work / f"{name}-{seed}.pt")
        reached = {"row": name, "seed": seed, "steps": student.done, "of": student.steps}
        found.append({**reached, "top1": student.top1(test)})
    _write(given.results, found, device)


def run(students: list[Student], until: float) -> float:
    """Steps of all students in turns until all have finished or the time is up; images/s in all."""
    before, begun, rounds = sum(each.done for each in students), time.monotonic(), 0
    while any(each.done < each.steps for each in students):
        for each in students:
            if each.done < each.steps:
                each.step()
        rounds += 1
        if rounds % _ROUNDS_PER_LOOK == 0:
            _wait()
            if time.monotonic() > until:
                break
    _wait()
    steps = sum(each.done for each in students) - before
    return BATCH * steps / (time.monotonic() - begun)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _probe(students: list[Student]) -> None:
    for count in (1, 4, 8, 16, 32):
        if count <= len(students):
            speed = run(students[:count], time.monotonic() + _PROBE_SECONDS)
            print(f"{count} at once: {speed:.0f} images a second in all", flush=True)


def _images(data: Any, split: str, most: int | None, device: torch.device) -> Images:
    """The first `most` images of a split as the data set has it."""
    rows = [row for row in range(len(data.keys)) if data.splits[row] == split][:most]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(data.read(row)))) for row in rows])
    labels = torch.tensor([data.labels[row] for row in rows])
    return Images(torch.from_numpy(pixels).to(device), labels.to(device))


def _write(results: Path, found: list[dict[str, Any]], device: torch.device) -> None:
    record = {
        "commit": package_commit(),
        "machine": machine(),
        "gpu": torch.cuda.get_device_name() if device.type == "cuda" else None,
        "students": found,
    }
    write_text(results / "cifar_gpu.json", json.dumps(record, indent=1) + "\n")
    text = page(record)
    write_text(results / "cifar_gpu.md", text)
    print(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cifar_gpu",
        description="CIFAR-100, ResNet-56 to ResNet-20, on the published schedule.",
    )
    add = parser.add_argument
    add("--data-root", type=Path, required=True, help="folder of cifar100 and weights")
    add("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--minutes", type=float, default=9.0)
    add("--probe", action="store_true", help="measure 1 to 32 students at once, and stop")
    add("--epochs", type=int, default=EPOCHS)
    add("--tuning-epochs", type=int, default=TUNING_EPOCHS)
    add("--crops", type=int, default=CROPS, help="fewer for a rehearsal")
    add("--images", type=int, help="fewer for a rehearsal")
    add("--work", type=Path, default=REPOSITORY / "runs" / "cifar_gpu")
    add("--results", type=Path, default=REPOSITORY / "runs" / "cifar_gpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
