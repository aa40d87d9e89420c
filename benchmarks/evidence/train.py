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
from benchmarks.evidence.teachers import SILENT, Teachers
from tmkd_deploy.distill.losses.total import StudentLoss
from tmkd_deploy.distill.student import train_student
from tmkd_deploy.models.classifier import create
from tmkd_deploy.training.batches import TrainingImages
from tmkd_deploy.training.predict import predict
from tmkd_deploy.training.schedule import Schedule


@dataclass(frozen=True)
class BenchmarkConfig:
    """The folders of data, teachers and results, the schedule, and the CPU threads of a run."""

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
        """The GPU if there is one, otherwise the CPU; also sets the number of CPU threads."""
        torch.set_num_threads(self.threads)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def exit_with_parent(parent: int) -> None:
    """Exit this worker when its parent is killed; otherwise it would finish its queue."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def make_visual_teacher(config: BenchmarkConfig, name: str, kind: str) -> None:
    """Make one visual teacher of a data set."""
    _teachers(config, name).make_visual(kind)


def make_text_teacher(config: BenchmarkConfig, name: str) -> None:
    """Make the text teacher of a data set."""
    _teachers(config, name).make_text()


def cache_outputs(config: BenchmarkConfig, name: str, row: str) -> None:
    """Compute the teacher outputs of a row, if the plan caches them."""
    if config.plan(name).teacher_outputs == "cached":
        _teachers(config, name).teacher_outputs(ROWS[row])


def recipe_hash(config: BenchmarkConfig, name: str, row: str) -> str:
    """SHA-256 over all constants of a run except its seed."""
    constants = {"schedule": config.schedule, "plan": asdict(config.plan(name))}
    text = json.dumps({**constants, "set": name, "row": asdict(ROWS[row])}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def is_done(config: BenchmarkConfig, name: str, row: str, seed: int) -> bool:
    """Whether exactly this run has a result."""
    file = config.result(name, row, seed)
    if not file.exists():
        return False
    recorded: str = json.loads(file.read_text())["recipe_sha256"]
    return recorded == recipe_hash(config, name, row)


def run(config: BenchmarkConfig, name: str, row: str, seed: int) -> dict[str, Any]:
    """Train and test one student, and write its result."""
    teachers = _teachers(config, name)
    plan, data, settings = teachers.plan, teachers.data, _settings(teachers.plan, ROWS[row])
    teacher_outputs = teachers.teacher_outputs(settings)
    started = time.monotonic()
    torch.manual_seed(seed)
    student, width = create(
        plan.student,
        len(data.class_names),
        plan.student_kwargs,
        plan.size,
        # CIFAR-100 is normalised as in the published results
        scratch=name != "cifar100",
    )
    student.to(teachers.device).to(memory_format=torch.channels_last)
    teacher_width = (
        teacher_outputs.for_batch(_single_image(data, teachers.device)).features.shape[1]
        if teacher_outputs
        else 1
    )
    loss = StudentLoss(settings, width, teacher_width, teachers.texts()).to(teachers.device)
    images: np.ndarray | torch.Tensor = data.train.images
    if teachers.device.type == "cuda":
        images = torch.from_numpy(images).to(teachers.device)
    labels = torch.from_numpy(data.train.labels)
    train_student(
        student,
        loss,
        TrainingImages(images, labels, plan.augment, plan.max_augmentations),
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
        SILENT,
        "Training a student",
    )
    seconds = time.monotonic() - started
    correct = (
        predict(student, data.test.images, teachers.device).argmax(dim=1).numpy()
        == data.test.labels
    )
    recalls = [correct[data.test.labels == label].mean() for label in np.unique(data.test.labels)]
    result = {
        "set": name,
        "row": row,
        "seed": seed,
        "schedule": config.schedule,
        "recipe_sha256": recipe_hash(config, name, row),
        "top1": float(correct.mean()),
        "macro_recall": float(np.mean(recalls)),
        "train_images": len(labels),
        "test_images": len(correct),
        "teacher_passes_per_image": len(settings.views) if settings.teacher else 0,
        "teacher_top1": teachers.top1(settings.teacher) if settings.teacher else {},
        "seconds": round(seconds, 1),
        "machine": _machine(config, teachers.device),
    }
    file = config.result(name, row, seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1) + "\n")
    part.rename(file)
    return result


def _settings(plan: Plan, row: Row) -> Row:
    return (
        replace(row, teacher_warmup_epochs=plan.dkd_warmup_epochs)
        if row.logit_loss == "dkd"
        else row
    )


def _single_image(data: DataSet, device: torch.device) -> Any:
    images = TrainingImages(data.train.images, torch.from_numpy(data.train.labels), "none", 1)
    return images.batch(torch.tensor([0]), torch.Generator(), device)


def _teachers(config: BenchmarkConfig, name: str) -> Teachers:
    device = config.device()
    plan = config.plan(name)
    work = config.work / config.schedule / name
    work.mkdir(parents=True, exist_ok=True)
    return Teachers(name, plan, _data(config, name), config.root, work, device)


@functools.cache
def _data(config: BenchmarkConfig, name: str) -> DataSet:
    return read(name, config.root, config.plan(name))


def processor() -> str:
    """The name of the CPU."""
    table = Path("/proc/cpuinfo")
    if table.exists():
        for line in table.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(": ")[2]
    return platform.processor() or platform.machine()


def _machine(config: BenchmarkConfig, device: torch.device) -> dict[str, str | int]:
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": config.threads,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
