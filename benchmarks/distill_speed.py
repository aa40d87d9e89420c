"""The cost of a TMKD step relative to a plain KD step with the same visual teacher.

python -m benchmarks.distill_speed > benchmarks/results/distill_speed.json

Four contenders take turns training a few steps each in one process: a minimal KD loop in plain
PyTorch, the package's KD (the view rgb only), its TMKD with three live views, and its TMKD with
cached teacher outputs. Each figure is the median over rounds of the ratio within a round, with a
bootstrap interval. Batches hold random pixels, since their content does not affect the cost.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.evidence.plans import ViewConstants
from benchmarks.evidence.rows import ROWS, Row
from benchmarks.evidence.train import processor
from tmkd_deploy.distill.fusion import uniform_weights
from tmkd_deploy.distill.losses.total import StudentLoss
from tmkd_deploy.distill.student import train_student
from tmkd_deploy.distill.teacher_outputs import (
    CachedTeacherOutputs,
    FusedTeacher,
    LiveTeacherOutputs,
    TeacherOutputSource,
)
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.models.classifier import Classifier, create
from tmkd_deploy.training.batches import TrainingImages
from tmkd_deploy.training.schedule import Schedule

# teacher, student and its keyword arguments, pixels, classes
PAIRS: dict[str, tuple[str, str, dict[str, Any], int, int]] = {
    "cifar100": ("cifar_resnet56", "cifar_resnet20", {}, 32, 100),
    "imagenet": ("resnet50", "mobilenetv4_conv_small", {}, 224, 1000),
    "quickstart": (
        "tf_efficientnet_lite0",
        "resnet10t",
        {"channels": [16, 32, 64, 128], "stem_width": 16},
        80,
        2,
    ),
}
GOALS = {"tmkd live / kd": 2.0, "tmkd cached / kd": 1.2}


class Contest:
    """One teacher and student pair, with the same images for all contenders."""

    def __init__(self, pair: str, batch_size: int, steps: int, device: torch.device) -> None:
        teacher, student, arguments, size, classes = PAIRS[pair]
        self.student = (student, classes, arguments, size)
        self.batch_size, self.device = batch_size, device
        torch.manual_seed(0)
        self.teacher, width = create(teacher, classes, {}, size, scratch=True)
        self.teacher.to(device).to(memory_format=torch.channels_last).eval()
        images = steps * batch_size
        random = np.random.default_rng(0)
        pixels = torch.from_numpy(random.integers(0, 256, (images, size, size, 3), dtype=np.uint8))
        labels = torch.from_numpy(random.integers(0, classes, images))
        self.data = TrainingImages(pixels.to(device), labels, "flip", 2)
        self.texts = F.normalize(torch.randn(classes, 512), dim=-1).to(device)
        self.width = width
        cached = torch.randn(2, images, classes), torch.randn(2, images, width).half()
        kd, tmkd = ROWS["kd"], ROWS["tmkd-kd"]
        self.contenders: dict[str, Callable[[], None]] = {
            "minimal kd": self._minimal_kd(),
            "kd": self._ours(kd, self._live(kd)),
            "tmkd live": self._ours(tmkd, self._live(tmkd)),
            "tmkd cached": self._ours(tmkd, CachedTeacherOutputs(*cached)),
        }

    def _live(self, row: Row) -> TeacherOutputSource:
        weights = uniform_weights(len(self.data), len(row.views))
        return LiveTeacherOutputs(
            FusedTeacher(self.teacher, ViewConstants(), list(row.views), weights)
        )

    def _ours(self, row: Row, teacher_outputs: TeacherOutputSource) -> Callable[[], None]:
        student, width = self._new_student()
        loss = StudentLoss(row, width, self.width, self.texts).to(self.device)
        schedule = Schedule(1, self.batch_size, 0.01, 5e-4, 0, "sgd", "multistep")

        def train() -> None:
            train_student(
                student,
                loss,
                self.data,
                teacher_outputs,
                schedule,
                self.device,
                SilentEvents(),
                "Timing",
            )

        return train

    def _minimal_kd(self) -> Callable[[], None]:
        student, _ = self._new_student()
        optimizer = torch.optim.SGD(student.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)

        def train() -> None:
            student.train()
            for rows in torch.randperm(len(self.data)).split(self.batch_size):
                pixels = self.data.images[rows.to(self.device)]
                images = pixels.permute(0, 3, 1, 2).float().div(255)
                labels = self.data.labels[rows].to(self.device)
                with torch.no_grad():
                    teacher_logits = self.teacher(images)[0]
                logits = student(images)[0]
                soft = F.kl_div(
                    F.log_softmax(logits / 4, 1),
                    F.softmax(teacher_logits / 4, 1),
                    reduction="batchmean",
                )
                value: Tensor = 0.1 * F.cross_entropy(logits, labels) + 0.9 * 16 * soft
                optimizer.zero_grad()
                value.backward()
                optimizer.step()

        return train

    def _new_student(self) -> tuple[Classifier, int]:
        name, classes, arguments, size = self.student
        student, width = create(name, classes, arguments, size, scratch=True)
        return student.to(self.device).to(memory_format=torch.channels_last), width


def seconds(work: Callable[[], None], device: torch.device) -> float:
    """The wall time of `work` in seconds, including asynchronous GPU work."""
    _synchronise(device)
    started = time.perf_counter()
    work()
    _synchronise(device)
    return time.perf_counter() - started


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def ratio(above: np.ndarray, below: np.ndarray) -> dict[str, float | list[float]]:
    """The median ratio within rounds with a 95 % bootstrap interval."""
    ratios = above / below
    random = np.random.default_rng(0)
    medians = np.median(random.choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return {
        "median": round(float(np.median(ratios)), 3),
        "interval": [round(float(low), 3), round(float(high), 3)],
    }


def measure(pair: str, arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Time all contenders of one pair, interleaved."""
    contest = Contest(pair, arguments.batch_size, arguments.steps, device)
    for work in contest.contenders.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in contest.contenders}
    names = list(times)
    for turn in range(arguments.rounds):
        for name in names[turn % 4 :] + names[: turn % 4]:  # rotate the order
            times[name].append(seconds(contest.contenders[name], device))
    found = {name: np.array(each) for name, each in times.items()}
    teacher, student, *_ = PAIRS[pair]
    return {
        "teacher": teacher,
        "student": student,
        "milliseconds_per_step": {
            name: round(1000 * float(np.median(each)) / arguments.steps, 2)
            for name, each in found.items()
        },
        "ratios": {
            "kd / minimal kd": ratio(found["kd"], found["minimal kd"]),
            "tmkd live / kd": ratio(found["tmkd live"], found["kd"]),
            "tmkd cached / kd": ratio(found["tmkd cached"], found["kd"]),
            "tmkd live / minimal kd": ratio(found["tmkd live"], found["minimal kd"]),
        },
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distill_speed")
    parser.add_argument("--pairs", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=2, help="steps per turn")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    figures = {
        "command": " ".join(["python -m benchmarks.distill_speed", *sys.argv[1:]]),
        "goals": GOALS,
        "batch_size": arguments.batch_size,
        "rounds": arguments.rounds,
        "steps_a_turn": arguments.steps,
        "pairs": {pair: measure(pair, arguments, device) for pair in arguments.pairs},
        "machine": {
            "device": torch.cuda.get_device_name() if device.type == "cuda" else processor(),
            "threads": arguments.threads,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
        },
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
