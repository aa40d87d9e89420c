"""One student: trained as a row of the protocol says, and what it answers on the test split."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.comparisons.data import Split
from benchmarks.comparisons.fused import Fused, fused
from benchmarks.comparisons.protocol import (
    AUGMENTATIONS,
    BATCH,
    DECAY,
    SETS,
    STUDENT,
    STUDENT_KWARGS,
    STUDENT_RATE,
    Row,
    Trick,
    rows_of,
)
from benchmarks.comparisons.teachers import CPU, SILENT, Teachers
from benchmarks.comparisons.tricks import text_head
from benchmarks.comparisons.tricks.relations import RelationalLoss
from benchmarks.comparisons.tricks.shown_views import ShownViews
from benchmarks.comparisons.tricks.view_by_view import ViewByViewLoss
from tmkd_deploy.distill.likelihood import best_factor
from tmkd_deploy.distill.losses.total import StudentLoss
from tmkd_deploy.distill.student import train_student
from tmkd_deploy.distill.teacher_outputs import CachedTeacherOutputs
from tmkd_deploy.models.classifier import create
from tmkd_deploy.training.batches import TrainingImages
from tmkd_deploy.training.predict import predict
from tmkd_deploy.training.schedule import Schedule

Result = dict[str, Any]
_BINS = 15  # of the calibration error
_LOSSES: dict[Trick | None, type[StudentLoss]] = {
    "relations": RelationalLoss,
    "view by view": ViewByViewLoss,
}


def run(name: str, split: Split, teachers: Teachers, seed: int) -> Result:
    """Train and test one student of the row `name`."""
    row = rows_of(split.pool.name)[name]
    teacher = fused(row, split, teachers) if row.teacher else None
    texts = torch.zeros(len(split.pool.class_names), 1)
    if row.gamma or row.trick == "text head":
        texts = teachers.text(free=False)["texts"].mean(dim=0)
    learned = teachers.once(
        f"student-{_made_from(row, split, teacher, seed)}",
        lambda: _trained(row, split, teacher, texts, seed),
    )
    val, test = learned["val"], learned["test"]
    if row.prior_correction:
        labels = torch.from_numpy(split.labels("train"))
        shares = torch.bincount(labels, minlength=len(texts)) / len(labels)
        val_labels = torch.from_numpy(split.labels("val"))
        test = test + best_factor(val, shares.log(), val_labels, -2.0, 2.0) * shares.log()
    return {
        **figures(test, split.labels("test")),
        "val_top1": top1(val, split.labels("val")),
        "teacher_val_top1": _of_teacher(teacher, row, split),
        "decisions": teacher.decisions if teacher else [],
        "seconds": round(float(learned["seconds"]), 1),
    }


def _made_from(row: Row, split: Split, teacher: Fused | None, seed: int) -> str:
    """SHA-256 over what makes a student; rows whose teachers say the same share their students."""
    made_by = replace(row, title="", prior_correction=False, soften=False, text=None)
    made_by = replace(made_by, teacher=None, fusion="even")
    constants = [asdict(made_by), asdict(SETS[split.pool.name]), seed]
    digest = hashlib.sha256(json.dumps(constants).encode())
    if teacher:
        for tensor in (teacher.logits, teacher.features):
            digest.update(str(tensor.shape).encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def _trained(
    row: Row, split: Split, teacher: Fused | None, texts: Tensor, seed: int
) -> dict[str, Tensor]:
    """Logits `val` and `test` of a student, and the processor's `seconds` of its training."""
    plan = SETS[split.pool.name]
    started = time.process_time()
    torch.manual_seed(seed)
    student, width = create(STUDENT, len(texts), STUDENT_KWARGS, plan.student_side, scratch=True)
    student.to(memory_format=torch.channels_last)
    if row.trick == "text head":
        text_head.start(student.get_submodule("network.backbone"), texts)
    kind_of_loss = _LOSSES.get(row.trick, StudentLoss)
    loss = kind_of_loss(row, width, teacher.features.shape[-1] if teacher else 1, texts)
    labels = torch.from_numpy(split.labels("train"))
    kind_of_images = ShownViews if row.trick == "shown views" else TrainingImages
    train_student(
        student,
        loss,
        kind_of_images(
            split.images("train", plan.student_side), labels, plan.augment, AUGMENTATIONS
        ),
        CachedTeacherOutputs(teacher.logits, teacher.features) if teacher else None,
        Schedule(plan.student_epochs, BATCH, STUDENT_RATE, DECAY, seed),
        CPU,
        SILENT,
        "Training a student",
    )
    seconds = torch.tensor(time.process_time() - started)
    student.eval()
    answers = {
        part: predict(student, split.images(part, plan.student_side), CPU)
        for part in ("val", "test")
    }
    return answers | {"seconds": seconds}


def figures(logits: Tensor, labels: npt.NDArray[np.int64]) -> Result:
    """Top-1, macro recall, NLL and calibration error, and what each image adds to them.

    `right` are the bits of the images in order, `nll` their float16, both in base64. The
    calibration error is the expected one (Guo et al. 2017) in 15 bins of equal width.
    """
    right = logits.argmax(dim=1).numpy() == labels
    losses = F.cross_entropy(logits.double(), torch.from_numpy(labels), reduction="none").numpy()
    confidence = logits.softmax(dim=1).amax(dim=1).numpy()
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=_BINS)
    return {
        "top1": float(right.mean()),
        "macro_recall": float(np.mean([right[labels == each].mean() for each in set(labels)])),
        "nll": float(losses.mean()),
        "calibration_error": float(np.abs(gaps).sum() / len(labels)),
        "right": base64.b64encode(np.packbits(right).tobytes()).decode(),
        "losses": base64.b64encode(losses.astype("<f2").tobytes()).decode(),
    }


def top1(logits: Tensor, labels: npt.NDArray[np.int64]) -> float:
    """The share of images whose highest logit is their label's."""
    return float((logits.argmax(dim=1).numpy() == labels).mean())


def _of_teacher(teacher: Fused | None, row: Row, split: Split) -> float | None:
    return top1(teacher.val, split.labels("val")) if teacher and row.teacher else None
