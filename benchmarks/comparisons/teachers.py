"""The teachers of one split, trained once; what they say of its images is kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.comparisons.data import PARTS, Split
from benchmarks.comparisons.protocol import (
    AUGMENTATIONS,
    BATCH,
    DECAY,
    SETS,
    STRONG,
    TEACHER,
    TEACHER_RATE,
    TEACHER_WEIGHTS,
    SetPlan,
    Visual,
)
from benchmarks.comparisons.tricks.folds import folds
from tmkd_deploy.distill import text_teacher
from tmkd_deploy.distill.text_teacher import TextTeacher
from tmkd_deploy.distill.views import make_views
from tmkd_deploy.distill.visual_teacher import fine_tune
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.models import weights
from tmkd_deploy.models.classifier import Classifier, create
from tmkd_deploy.recipe import schema
from tmkd_deploy.records.types import VIEWS
from tmkd_deploy.training.augment import apply, augmentation_count
from tmkd_deploy.training.batches import TrainingImages, to_float
from tmkd_deploy.training.schedule import Schedule

SILENT = SilentEvents()
CPU = torch.device("cpu")
_CROP = 7 / 8  # of the side, in the third of three passes
Tensors = dict[str, Tensor]
Work = Callable[[Tensor], Tensor]  # of images [n, 3, H, W]


class FreeVectors(TextTeacher):
    """A text teacher without text: the embeddings of views and classes are free vectors."""

    def __init__(self, text: TextTeacher) -> None:
        super().__init__(text.clip, text.tokens, text.mean.flatten(), text.std.flatten())
        with torch.no_grad():
            self.vectors = nn.Parameter(torch.randn_like(text.embed_classes()))

    def embed_classes(self, random: torch.Generator | None = None) -> Tensor:
        """The vectors [V, C, d], scaled to unit length; `random` draws nothing here."""
        del random
        return F.normalize(self.vectors, dim=-1)


class Teachers:
    """What the teachers of a split say, from `folder` or computed into it.

    Logits have the shapes [A, V, N, C] for the A augmentations of the training images and
    [1, V, N, C] for the images of the other parts.
    """

    def __init__(self, split: Split, number: int, folder: Path) -> None:
        self._split, self._seed, self._folder = split, number, folder
        self._plan: SetPlan = SETS[split.pool.name]
        self._settings = schema.Views()
        folder.mkdir(parents=True, exist_ok=True)

    def visual(self, kind: Visual) -> Tensors:
        """Logits of a visual teacher by part, and `features` [A, V, N, D] of the training images.

        The views are rgb, edge and freq for the teacher of views, and rgb alone for the others. The
        RGB teacher has `passes` as well: [A, 1, N, C] and so on, the mean of its logits for the
        image, its mirror and a central crop. The "rgb folds" answer for each training image with a
        teacher that was not trained on it, and for the others with the mean of all.
        """
        make = self._made_folds if kind == "rgb folds" else partial(self._made_visual, kind)
        return self.once(kind.replace(" ", "-"), make)

    def text(self, free: bool) -> Tensors:
        """Scores [N, V, C] by part, the embeddings `texts` [V, C, d] and the `scale` of logits."""
        return self.once("free" if free else "text", lambda: self._made_text(free))

    def once(self, name: str, make: Callable[[], Tensors]) -> Tensors:
        """Tensors by name, from the folder or made now."""
        file = self._folder / f"{name}.safetensors"
        if not file.exists():
            made = {key: value.contiguous() for key, value in make().items()}
            save_file(made, file.with_suffix(".part"))
            file.with_suffix(".part").rename(file)
        found: Tensors = load_file(file)
        return found

    def _made_visual(self, kind: Visual) -> Tensors:
        network = self._trained_visual(kind)
        three = kind == "views"
        made = {part: self._of(part, self._logits(network, three)) for part in PARTS}
        if three:
            made["features"] = self._of("train", self._features(network)).half()
        if kind == "rgb":
            made |= {f"passes-{part}": self._of(part, self._passes(network)) for part in PARTS}
        return made

    def _made_folds(self) -> Tensors:
        labels = self._split.labels("train")
        parts = [
            (rows, self._trained_visual("rgb", trained_on))
            for trained_on, rows in folds(labels, 3000 + self._seed)
        ]
        whole = [self._of("train", self._logits(network, False), rows) for rows, network in parts]
        order = torch.cat([rows for rows, _ in parts]).argsort()
        val = [self._of("val", self._logits(network, False)) for _, network in parts]
        return {
            "train": torch.cat(whole, dim=2)[:, :, order],
            "val": torch.stack(val).mean(dim=0),
        }

    def _trained_visual(self, kind: Visual, rows: Tensor | None = None) -> Classifier:
        """A teacher, trained on all training images or on some `rows`."""
        classes = len(self._split.pool.class_names)
        torch.manual_seed(1000 + self._seed + (500 if kind == "rgb again" else 0))
        network, _ = create(TEACHER, classes, {}, self._plan.teacher_side, scratch=False)
        weights.initialise(network, TEACHER, TEACHER_WEIGHTS)
        network.to(memory_format=torch.channels_last)
        pixels = self._split.images("train", self._plan.teacher_side)
        labels = torch.from_numpy(self._split.labels("train"))
        images = TrainingImages(
            pixels if rows is None else pixels[rows.numpy()],
            labels if rows is None else labels[rows],
            self._plan.augment,
            8,
            STRONG if kind == "rgb strong" else (),
        )
        schedule = Schedule(
            self._plan.teacher_epochs, BATCH, TEACHER_RATE, DECAY, torch.initial_seed()
        )
        views = VIEWS if kind == "views" else VIEWS[:1]
        fine_tune(network, images, self._settings, schedule, CPU, SILENT, trained_views=views)
        return network.eval()

    def _logits(self, network: Classifier, three: bool) -> Work:
        return lambda images: torch.stack([network(view)[0] for view in self._views(images, three)])

    def _features(self, network: Classifier) -> Work:
        return lambda images: torch.stack([network(view)[1] for view in self._views(images, True)])

    def _passes(self, network: Classifier) -> Work:
        def work(images: Tensor) -> Tensor:
            side = images.shape[-1]
            inner = round(_CROP * side)
            edge = (side - inner) // 2
            crop = images[..., edge : edge + inner, edge : edge + inner]
            zoomed = F.interpolate(crop, (side, side), mode="bilinear", align_corners=False)
            passes = (images, images.flip(-1), zoomed)
            return torch.stack([network(each)[0] for each in passes]).mean(dim=0, keepdim=True)

        return work

    def _views(self, images: Tensor, three: bool) -> Tensor:
        return make_views(images, self._settings, list(VIEWS)) if three else images[None]

    def _of(self, part: str, work: Work, rows: Tensor | None = None) -> Tensor:
        """What `work` makes of a part or some of its `rows`.

        Images of the training split are taken in each augmentation.
        """
        images = self._split.images(part, self._plan.teacher_side)
        images = images if rows is None else images[rows.numpy()]
        train = part == "train"
        count = augmentation_count(self._plan.augment, AUGMENTATIONS) if train else 1
        made: list[list[Tensor]] = [[] for _ in range(count)]
        with torch.inference_mode():
            for some in torch.split(torch.arange(len(images)), 64):
                batch = to_float(images, some, CPU)
                for number in range(count):
                    made[number].append(work(apply(batch, self._plan.augment, number)))
        return torch.stack([torch.cat(each, dim=1) for each in made])

    def _made_text(self, free: bool) -> Tensors:
        torch.manual_seed(2000 + self._seed)
        settings = schema.TextTeacher(epochs=self._plan.text_epochs)
        names = self._split.pool.class_names
        teacher = text_teacher.create(settings, schema.Prompts(), names)
        teacher = FreeVectors(teacher) if free else teacher
        images = {part: self._split.images(part, self._plan.teacher_side) for part in PARTS}
        schedule = Schedule(settings.epochs, settings.batch_size, 1e-3, 0.05, 2000 + self._seed)
        labels = self._split.labels("train")
        text_teacher.train(teacher, images["train"], labels, self._settings, schedule, CPU, SILENT)
        made = {
            part: text_teacher.semantic_scores(teacher, each, self._settings, CPU, SILENT)
            for part, each in images.items()
        }
        with torch.inference_mode():
            made["texts"] = teacher.embed_classes()
            made["scale"] = text_teacher.logit_scale(teacher).reshape(1)
        return made
