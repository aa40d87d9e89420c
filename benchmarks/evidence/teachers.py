"""The teachers of a data set, trained once and stored next to the runs."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.evidence.plans import Plan
from benchmarks.evidence.rows import Row
from benchmarks.evidence.sets import DataSet
from tmkd_deploy.distill.fusion import semantic_weights, uniform_weights
from tmkd_deploy.distill.projection import fit_projection, projected_scores
from tmkd_deploy.distill.teacher_outputs import (
    CachedTeacherOutputs,
    FusedTeacher,
    LiveTeacherOutputs,
    TeacherOutputSource,
    cache_teacher_outputs,
)
from tmkd_deploy.distill.visual_teacher import features_by_view, fine_tune, top1_by_view
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.models import weights
from tmkd_deploy.models.classifier import Classifier, create
from tmkd_deploy.records.types import VIEWS
from tmkd_deploy.training.batches import TrainingImages
from tmkd_deploy.training.schedule import Schedule

SEED = 0
SILENT = SilentEvents()
PROMPTS = {
    "rgb": ["a photo of a {class}", "a picture of a {class}"],
    "edge": ["an image of a {class} with sharp edges and contours", "the outline of a {class}"],
    "freq": [
        "the fine texture and high-frequency detail of a {class}",
        "a high-pass filtered image of a {class}",
    ],
}


@dataclass(frozen=True)
class Teachers:
    """The teachers of one data set: where they are stored and how they are made."""

    name: str
    plan: Plan
    data: DataSet
    root: Path
    work: Path
    device: torch.device

    def make_visual(self, kind: str) -> None:
        """Train the visual teacher of the kind "RGB" or "three views".

        Both start from the same weights and train for the same number of epochs. On all of
        CIFAR-100 the RGB teacher is the published one, unchanged. On a subset it is fine-tuned too:
        otherwise its overconfident outputs (it has seen every training image) would be compared
        with those of a softer teacher.
        """
        file = self._file(kind)
        if file.exists():
            return
        torch.manual_seed(SEED)
        visual = self._new_visual()
        self._initialise(visual)
        visual.to(self.device).to(memory_format=torch.channels_last)
        plan, part = self.plan, self.data.teacher_train
        rate = plan.teacher_learning_rate
        schedule = Schedule(plan.teacher_epochs, 64, rate, 0.02, SEED)
        images = TrainingImages(part.images, torch.from_numpy(part.labels), plan.augment, 8)
        published = kind == "RGB" and self.name == "cifar100" and not plan.classes
        if not published:
            views = VIEWS if kind == "three views" else VIEWS[:1]
            fine_tune(
                visual, images, plan.views, schedule, self.device, SILENT, trained_views=views
            )
        test = self.data.test
        top1 = top1_by_view(visual, test.images, test.labels, plan.views, self.device, SILENT)
        state = {key: value.contiguous() for key, value in visual.cpu().state_dict().items()}
        metadata = {view: repr(share) for view, share in top1.items()}
        save_file(state, file.with_suffix(".part"), metadata)
        file.with_suffix(".part").rename(file)

    def make_text(self) -> None:
        """Compute text embeddings [3, C, d] and semantic scores [N, 3, C] of the training images.

        For CIFAR-100 these are the embeddings of OpenAI's CLIP without its image tower, scored
        against projected features of the visual teacher. For the other sets a small CLIP is trained
        on the training split.
        """
        file = self.work / "text.safetensors"
        if file.exists():
            return
        torch.manual_seed(SEED)
        texts, scores = self._clip_embeddings() if self.name == "cifar100" else self._trained_clip()
        save_file({"texts": texts, "scores": scores.contiguous()}, file.with_suffix(".part"))
        file.with_suffix(".part").rename(file)

    def visual(self, kind: str) -> Classifier:
        """Load a visual teacher."""
        visual = self._new_visual()
        weights.load(visual, self._file(kind))
        return visual.to(self.device).to(memory_format=torch.channels_last).eval()

    def top1(self, kind: str) -> dict[str, float]:
        """Top-1 of a visual teacher on the test split, by view."""
        with safe_open(self._file(kind), "pt") as file:
            return {view: float(share) for view, share in file.metadata().items()}

    def texts(self) -> Tensor:
        """The class embeddings [C, d] of the contrastive term."""
        texts = load_file(self.work / "text.safetensors")["texts"].mean(dim=0)
        return torch.nn.functional.normalize(texts, dim=-1)

    def teacher_outputs(self, row: Row) -> TeacherOutputSource | None:
        """The teacher outputs for a student of `row`, cached on disk if the plan says so."""
        if row.teacher is None:
            return None
        teacher = self._fused_teacher(row)
        if self.plan.teacher_outputs == "live":
            return LiveTeacherOutputs(teacher)
        file = self.work / f"teacher-outputs-{teacher_outputs_key(row)}.safetensors"
        if not file.exists():
            images = self.data.train.images
            cache = cache_teacher_outputs(
                teacher, images, self.plan.augment, self.plan.max_augmentations, self.device, SILENT
            )
            part = file.with_suffix(".part")
            save_file({"logits": cache.logits, "features": cache.features}, part)
            part.rename(file)
        return CachedTeacherOutputs(**load_file(file))

    def _fused_teacher(self, row: Row) -> FusedTeacher:
        assert row.teacher is not None
        images = len(self.data.train.labels)
        chosen = uniform_weights(images, len(row.views))
        if row.text_weights and len(row.views) > 1:
            scores = load_file(self.work / "text.safetensors")["scores"]
            labels = torch.from_numpy(self.data.train.labels)
            chosen = semantic_weights(scores, labels, row.weight_temperature)
        return FusedTeacher(self.visual(row.teacher), self.plan.views, list(row.views), chosen)

    def _file(self, kind: str) -> Path:
        return self.work / f"{kind.replace(' ', '-')}.safetensors"

    def _new_visual(self) -> Classifier:
        classes = len(self.data.class_names)
        return create(self.plan.teacher, classes, {}, self.plan.size, scratch=False)[0]

    def _initialise(self, visual: Classifier) -> None:
        if self.name != "cifar100":
            weights.initialise(visual, self.plan.teacher, self.plan.teacher_weights)
            return
        state = load_file(self.root / self.plan.teacher_weights)
        classes = len(self.data.class_names)
        for key in ("fc.weight", "fc.bias"):  # a subset holds the first classes
            state[key] = state[key][:classes]
        visual.network.backbone.load_state_dict(state)

    def _clip_embeddings(self) -> tuple[Tensor, Tensor]:
        file = self.root / "weights" / "cifar100_clip_vit_b32_text.safetensors"
        one = load_file(file)["text_features"][: len(self.data.class_names)]
        texts = torch.nn.functional.normalize(one, dim=-1).expand(len(VIEWS), -1, -1).contiguous()
        visual = self.visual("three views")
        features = features_by_view(
            visual, self.data.train.images, self.plan.views, self.device, SILENT
        )
        labels = torch.from_numpy(self.data.train.labels)
        projection = fit_projection(features, labels, texts)
        return texts, projected_scores(features, projection, texts)

    def _trained_clip(self) -> tuple[Tensor, Tensor]:
        # open_clip and the recipe's schema are not needed for CIFAR-100
        text_teacher = importlib.import_module("tmkd_deploy.distill.text_teacher")
        schema = importlib.import_module("tmkd_deploy.recipe.schema")

        settings = schema.TextTeacher(epochs=self.plan.text_epochs)
        text = text_teacher.create(settings, schema.Prompts(**PROMPTS), self.data.class_names)
        text.to(self.device)
        part = self.data.train
        schedule = Schedule(settings.epochs, settings.batch_size, 1e-3, 0.05, SEED)
        views = self.plan.views
        text_teacher.train(text, part.images, part.labels, views, schedule, self.device, SILENT)
        scores = text_teacher.semantic_scores(text, part.images, views, self.device, SILENT)
        with torch.inference_mode():
            return text.embed_classes().cpu(), scores


def teacher_outputs_key(row: Row) -> str:
    """Rows with the same key have the same teacher outputs."""
    weights_kind = "text" if row.text_weights and len(row.views) > 1 else "uniform"
    return f"{row.teacher}-{'-'.join(row.views)}-{weights_kind}".replace(" ", "-")
