"""One run: a student of one row, on one data set, with one seed."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.evidence.plans import FULL, SHORT, Plan
from benchmarks.evidence.rows import ROWS, Row
from benchmarks.evidence.sets import DataSet, read
from benchmarks.evidence.teachers import QUIET, Teachers
from tmkd_deploy.distill.losses.total import StudentLoss
from tmkd_deploy.distill.student import train_student
from tmkd_deploy.models.timm_classifier import create
from tmkd_deploy.training.batches import TrainingImages
from tmkd_deploy.training.predict import predict
from tmkd_deploy.training.schedule import Schedule


@dataclass(frozen=True)
class Place:
    """Where data are read, teachers kept and results written, and which schedule is run."""

    root: Path
    work: Path
    results: Path
    schedule: str
    threads: int

    def plan(self, name: str) -> Plan:
        """The plan of the data set `name`."""
        return (FULL if self.schedule == "full" else SHORT)[name]

    def result(self, name: str, row: str, seed: int) -> Path:
        """The file of one run."""
        return self.results / self.schedule / name / f"{row}-seed{seed}.json"

    def device(self) -> torch.device:
        """The GPU where there is one; sets the threads of a CPU."""
        torch.set_num_threads(self.threads)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def end_with(parent: int) -> None:
    """End this worker when its parent is killed; it would go on with what it has otherwise."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def prepare_visual(place: Place, name: str, kind: str) -> None:
    """Make one visual teacher of a data set."""
    _teachers(place, name).make_visual(kind)


def prepare_text(place: Place, name: str) -> None:
    """Make the text teacher of a data set."""
    _teachers(place, name).make_text()


def prepare_teacher_outputs(place: Place, name: str, row: str) -> None:
    """Ask the teachers for a row, where the plan keeps what they say."""
    if place.plan(name).teacher_outputs == "cached":
        _teachers(place, name).teacher_outputs(ROWS[row])


def recipe_hash(place: Place, name: str, row: str) -> str:
    """SHA-256 over every constant of a run but its seed."""
    constants = {"schedule": place.schedule, "plan": asdict(place.plan(name))}
    text = json.dumps({**constants, "set": name, "row": asdict(ROWS[row])}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def is_done(place: Place, name: str, row: str, seed: int) -> bool:
    """Whether this very run has a result."""
    file = place.result(name, row, seed)
    if not file.exists():
        return False
    recorded: str = json.loads(file.read_text())["recipe_sha256"]
    return recorded == recipe_hash(place, name, row)


def run(place: Place, name: str, row: str, seed: int) -> dict[str, Any]:
    """Train and test one student, and write its result."""
    teachers = _teachers(place, name)
    plan, data, settings = teachers.plan, teachers.data, _settings(teachers.plan, ROWS[row])
    teacher_outputs = teachers.teacher_outputs(settings)
    begun = time.monotonic()
    torch.manual_seed(seed)
    student, width = create(
        plan.student,
        len(data.class_names),
        plan.student_arguments,
        plan.size,
        # CIFAR-100 is normalised as in the published results
        scratch=name != "cifar100",
    )
    student.to(teachers.device).to(memory_format=torch.channels_last)
    teacher_width = (
        teacher_outputs.of(_one(data, teachers.device)).features.shape[1] if teacher_outputs else 1
    )
    loss = StudentLoss(settings, width, teacher_width, teachers.texts()).to(teachers.device)
    images: np.ndarray | torch.Tensor = data.train.images
    if teachers.device.type == "cuda":
        images = torch.from_numpy(images).to(teachers.device)
    labels = torch.from_numpy(data.train.labels)
    train_student(
        student,
        loss,
        TrainingImages(images, labels, plan.augment, plan.variants),
        teacher_outputs,
        Schedule(
            plan.epochs,
            plan.batch_size,
            plan.learning_rate,
            plan.weight_decay,
            seed,
            plan.optimizer,
            plan.lr_schedule,
        ),
        teachers.device,
        QUIET,
        "Training a student",
    )
    seconds = time.monotonic() - begun
    right = (
        predict(student, data.test.images, teachers.device).argmax(dim=1).numpy()
        == data.test.labels
    )
    recalls = [right[data.test.labels == label].mean() for label in np.unique(data.test.labels)]
    result = {
        "set": name,
        "row": row,
        "seed": seed,
        "schedule": place.schedule,
        "recipe_sha256": recipe_hash(place, name, row),
        "top1": float(right.mean()),
        "macro_recall": float(np.mean(recalls)),
        "train_images": len(labels),
        "test_images": len(right),
        "teacher_passes_per_image": len(settings.views) if settings.teacher else 0,
        "teacher_top1": teachers.top1(settings.teacher) if settings.teacher else {},
        "seconds": round(seconds, 1),
        "machine": _machine(place, teachers.device),
    }
    file = place.result(name, row, seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1) + "\n")
    part.rename(file)
    return result


def _settings(plan: Plan, row: Row) -> Row:
    return replace(row, teacher_warmup_epochs=plan.dkd_ramp) if row.logit_loss == "dkd" else row


def _one(data: DataSet, device: torch.device) -> Any:
    images = TrainingImages(data.train.images, torch.from_numpy(data.train.labels), "none", 1)
    return images.batch(torch.tensor([0]), torch.Generator(), device)


def _teachers(place: Place, name: str) -> Teachers:
    device = place.device()
    plan = place.plan(name)
    work = place.work / place.schedule / name
    work.mkdir(parents=True, exist_ok=True)
    return Teachers(name, plan, _data(place, name), place.root, work, device)


@functools.cache
def _data(place: Place, name: str) -> DataSet:
    return read(name, place.root, place.plan(name))


def processor() -> str:
    """The name of the CPU."""
    table = Path("/proc/cpuinfo")
    if table.exists():
        for line in table.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(": ")[2]
    return platform.processor() or platform.machine()


def _machine(place: Place, device: torch.device) -> dict[str, str | int]:
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": place.threads,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
