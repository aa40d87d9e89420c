"""The constants of the protocol: data, schedules, rows and the comparisons named beforehand."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Literal

from tmkd_deploy.records.types import Augment, Augmentation

SPLITS = 5  # stratified folds, each with teachers of its own
STUDENTS = 3  # of each row in each split
VAL_SHARE = 0.15  # of the images outside the fold
LEAST_LEAD = 4.0  # points that the teacher must have over the student alone, on validation images
AUGMENTATIONS = 2

Visual = Literal["views", "rgb", "rgb again", "rgb strong", "rgb folds"]
Trick = Literal["relations", "view by view", "shown views", "text head"]
TEACHER = "tf_efficientnet_lite0"
TEACHER_WEIGHTS = "package:efficientnet-lite0"
STUDENT = "resnet10t"
STUDENT_KWARGS = {"channels": [16, 32, 64, 128], "stem_width": 16}
STUDENT_RATE, TEACHER_RATE, DECAY = 5e-3, 1e-3, 0.02
BATCH = 32
STRONG: tuple[Augmentation, ...] = ("trivialaugment", "random_erasing")


@dataclass(frozen=True)
class SetPlan:
    """One data set: every `every`-th class, at most `pool` images in all and `train` to train on.

    The images have natural class shares throughout. Sides are in pixels.
    """

    title: str
    augment: Augment
    teacher_epochs: int
    student_epochs: int
    text_epochs: int = 10
    every: int = 1
    pool: int | None = None
    train: int | None = None
    teacher_side: int = 80
    student_side: int = 40


SETS = {
    "cifar100": SetPlan(
        "CIFAR-100, 20 classes", "flip", 6, 15, every=5, pool=3000, teacher_side=64, student_side=32
    ),
    "neu-det": SetPlan("NEU-DET", "dihedral", 15, 40, train=240),
    "magnetic-tile": SetPlan("Magnetic tile", "dihedral", 10, 25),
    "elpv": SetPlan("ELPV", "dihedral", 6, 20),
    "fashion-mnist": SetPlan(
        "Fashion-MNIST", "flip", 6, 15, pool=3000, train=1500, teacher_side=64, student_side=32
    ),
    "caltech101": SetPlan("Caltech-101", "flip", 6, 20, text_epochs=6, pool=3600, train=2000),
}


@dataclass(frozen=True)
class Row:
    """How a student is taught.

    `teacher` is the visual teacher, None for none. `fusion` makes one teacher of what there is:
    its view rgb, the mean of three passes over crops and mirrors ("passes"), the mean with a second
    teacher ("ensemble"), the mean of the views ("even"), weights by the label's text scores
    ("label"), or what held-out images decide ("auto"). `soften` lets them decide the softness.
    `text` is the second source of logits that "auto" may take.
    """

    title: str
    teacher: Visual | None = "views"
    fusion: Literal["rgb", "passes", "ensemble", "even", "label", "auto"] = "auto"
    text: Literal["text", "free", None] = "text"
    soften: bool = True
    prior_correction: bool = False
    ce_weight: float = 1.0
    logit_loss: Literal["kd", "dkd", "dist"] = "kd"
    dkd_beta: float = 8.0
    alpha: float = 1.0
    temperature: float = 4.0
    beta: float = 1.0
    gamma: float = 0.0
    contrastive_temperature: float = 0.07
    teacher_warmup_epochs: int = 0
    trick: Trick | None = None


_AUTO = Row("TMKD, auto")
_KD = Row("KD", "rgb", "rgb", text=None, beta=0.0)
_ALONE = replace(_KD, title="Supervised", teacher=None, alpha=0.0)

ROWS = {
    "supervised": _ALONE,
    "supervised-prior": replace(
        _ALONE, title="Supervised, prior correction", prior_correction=True
    ),
    "kd": _KD,
    "kd-passes": replace(_KD, title="KD, three passes of the RGB teacher", fusion="passes"),
    "kd-ensemble": replace(_KD, title="KD, two RGB teachers", fusion="ensemble"),
    "kd-strong": replace(_KD, title="KD, strongly augmented RGB teacher", teacher="rgb strong"),
    "views": replace(_AUTO, title="Even views", fusion="even", text=None, beta=0.0),
    "auto": _AUTO,
    "auto-no-text": replace(_AUTO, title="TMKD, auto, no text share", text=None),
    "auto-free": replace(_AUTO, title="TMKD, auto, free vectors for text", text="free"),
    "auto-no-feature": replace(_AUTO, title="TMKD, auto, no feature term", beta=0.0),
    "article": replace(_AUTO, title="TMKD, article", fusion="label", soften=False, gamma=0.1),
}

_VIEWS = ROWS["views"]
TRICKS = {
    "kd-folds": replace(_KD, title="Out-of-fold outputs of RGB teachers", teacher="rgb folds"),
    "views-each": replace(_VIEWS, title="KD view by view", trick="view by view"),
    "views-shown": replace(_VIEWS, title="Views shown to the student", trick="shown views"),
    "views-relations": replace(_VIEWS, title="Relational term", trick="relations"),
    "views-text-head": replace(_VIEWS, title="Text embeddings as the head", trick="text head"),
}
TRICK_SETS = ("cifar100", "magnetic-tile", "caltech101")
# what each is compared with
BASES = {row: "kd" if row.startswith("kd") else "views" for row in TRICKS}

# the first row against the second
COMPARISONS = {
    "auto over KD": ("auto", "kd"),
    "article over KD": ("article", "kd"),
    "views over three passes": ("views", "kd-passes"),
    "text share over none": ("auto", "auto-no-text"),
    "feature term over none": ("auto", "auto-no-feature"),
}


def rows_of(name: str) -> dict[str, Row]:
    """The rows that a data set has, in the order of the runs."""
    return ROWS | TRICKS if name in TRICK_SETS else ROWS


def fingerprint(name: str, row: str) -> str:
    """SHA-256 over all constants of a row on a data set."""
    constants = [SPLITS, VAL_SHARE, AUGMENTATIONS, TEACHER, TEACHER_WEIGHTS, STUDENT]
    constants += [STUDENT_KWARGS, STUDENT_RATE, TEACHER_RATE, DECAY, BATCH, STRONG]
    text = json.dumps([constants, asdict(SETS[name]), asdict((ROWS | TRICKS)[row])], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
