"""The teachers of a data set, made once and kept beside the runs."""

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
from tmkd_deploy.models.timm_classifier import Classifier, create
from tmkd_deploy.records.types import VIEWS
from tmkd_deploy.training.batches import TrainingImages
from tmkd_deploy.training.schedule import Schedule

SEED = 0
QUIET = SilentEvents()
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
    """Where the teachers of one data set are kept, and how they are made."""

    name: str
    plan: Plan
    data: DataSet
    root: Path
    work: Path
    device: torch.device

    def make_visual(self, kind: str) -> None:
        """The visual teacher that sees RGB alone, or all three views.

        Both start from the same weights and are trained for as long. On the whole of CIFAR-100 the
        RGB teacher is the published one as it is; on a subset it is trained on, too, because its
        certainty (it knows every training image) would be compared with a softer teacher's.
        """
        file = self._file(kind)
        if file.exists():
            return
        torch.manual_seed(SEED)
        visual = self._blank()
        self._initialise(visual)
        visual.to(self.device).to(memory_format=torch.channels_last)
        plan, part = self.plan, self.data.teacher_train
        rate = plan.teacher_learning_rate
        schedule = Schedule(plan.teacher_epochs, 64, rate, 0.02, SEED)
        images = TrainingImages(part.images, torch.from_numpy(part.labels), plan.augment, 8)
        published = kind == "RGB" and self.name == "cifar100" and not plan.classes
        if not published:
            views = VIEWS if kind == "three views" else VIEWS[:1]
            fine_tune(visual, images, plan.views, schedule, self.device, QUIET, trained_views=views)
        test = self.data.test
        top1 = top1_by_view(visual, test.images, test.labels, plan.views, self.device, QUIET)
        state = {key: value.contiguous() for key, value in visual.cpu().state_dict().items()}
        metadata = {view: repr(share) for view, share in top1.items()}
        save_file(state, file.with_suffix(".part"), metadata)
        file.with_suffix(".part").rename(file)

    def make_text(self) -> None:
        """Text embeddings [3, C, d] and semantic scores [N, 3, C] of the training images.

        CIFAR-100 has the embeddings of OpenAI's CLIP and no image tower: the visual teacher's
        features are projected. Elsewhere a small CLIP is trained on the training split.
        """
        file = self.work / "text.safetensors"
        if file.exists():
            return
        torch.manual_seed(SEED)
        texts, scores = self._embedded() if self.name == "cifar100" else self._contrasted()
        save_file({"texts": texts, "scores": scores.contiguous()}, file.with_suffix(".part"))
        file.with_suffix(".part").rename(file)

    def visual(self, kind: str) -> Classifier:
        """A visual teacher that was made."""
        visual = self._blank()
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
        """What a student of `row` is told; kept on disk where the plan asks for that."""
        if row.teacher is None:
            return None
        fused = self._fused(row)
        if self.plan.teacher_outputs == "live":
            return LiveTeacherOutputs(fused)
        file = self.work / f"teacher-outputs-{teacher_outputs_key(row)}.safetensors"
        if not file.exists():
            images = self.data.train.images
            cache = cache_teacher_outputs(
                fused, images, self.plan.augment, self.plan.variants, self.device, QUIET
            )
            part = file.with_suffix(".part")
            save_file({"logits": cache.logits, "features": cache.features}, part)
            part.rename(file)
        return CachedTeacherOutputs(**load_file(file))

    def _fused(self, row: Row) -> FusedTeacher:
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

    def _blank(self) -> Classifier:
        classes = len(self.data.class_names)
        return create(self.plan.teacher, classes, {}, self.plan.size, scratch=False)[0]

    def _initialise(self, visual: Classifier) -> None:
        if self.name != "cifar100":
            weights.initialise(visual, self.plan.teacher, self.plan.teacher_weights)
            return
        state = load_file(self.root / self.plan.teacher_weights)
        classes = len(self.data.class_names)
        for key in ("fc.weight", "fc.bias"):  # the classes of a subset come first
            state[key] = state[key][:classes]
        visual.network.backbone.load_state_dict(state)

    def _embedded(self) -> tuple[Tensor, Tensor]:
        file = self.root / "weights" / "cifar100_clip_vit_b32_text.safetensors"
        one = load_file(file)["text_features"][: len(self.data.class_names)]
        texts = torch.nn.functional.normalize(one, dim=-1).expand(len(VIEWS), -1, -1).contiguous()
        visual = self.visual("three views")
        features = features_by_view(
            visual, self.data.train.images, self.plan.views, self.device, QUIET
        )
        labels = torch.from_numpy(self.data.train.labels)
        projection = fit_projection(features, labels, texts)
        return texts, projected_scores(features, projection, texts)

    def _contrasted(self) -> tuple[Tensor, Tensor]:
        # open_clip and the recipe's schema are not needed for CIFAR-100
        text_teacher = importlib.import_module("tmkd_deploy.distill.text_teacher")
        schema = importlib.import_module("tmkd_deploy.recipe.schema")

        settings = schema.TextTeacher(epochs=self.plan.text_epochs)
        text = text_teacher.create(settings, schema.Prompts(**PROMPTS), self.data.class_names)
        text.to(self.device)
        part = self.data.train
        schedule = Schedule(settings.epochs, settings.batch_size, 1e-3, 0.05, SEED)
        views = self.plan.views
        text_teacher.train(text, part.images, part.labels, views, schedule, self.device, QUIET)
        scores = text_teacher.semantic_scores(text, part.images, views, self.device, QUIET)
        with torch.inference_mode():
            return text.embed_classes().cpu(), scores


def teacher_outputs_key(row: Row) -> str:
    """Rows with the same key are told the same."""
    view_scores = "text" if row.text_weights and len(row.views) > 1 else "even"
    return f"{row.teacher}-{'-'.join(row.views)}-{view_scores}".replace(" ", "-")
