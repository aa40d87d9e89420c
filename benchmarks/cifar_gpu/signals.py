"""The teachers, and their outputs for every crop of every training image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.cifar_gpu.crops import crops, padded
from benchmarks.cifar_gpu.plan import (
    TEACHER,
    TUNING_BATCH,
    TUNING_DECAY,
    TUNING_EPOCHS,
    TUNING_RATE,
    WEIGHT_TEMPERATURE,
    Outputs,
)
from tmkd_deploy.distill.fusion import fuse, semantic_weights, uniform_weights
from tmkd_deploy.distill.losses.total import TeacherOutputs
from tmkd_deploy.distill.projection import fit_projection, projected_scores
from tmkd_deploy.distill.views import make_views
from tmkd_deploy.distill.visual_teacher import fine_tune
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.models.classifier import Classifier, create
from tmkd_deploy.models.weights import initialise
from tmkd_deploy.recipe import schema
from tmkd_deploy.records.types import VIEWS, View
from tmkd_deploy.training.batches import TrainingImages, to_float
from tmkd_deploy.training.schedule import Schedule

_AT_ONCE = 4096
_VIEWS = schema.Views()


@dataclass(frozen=True)
class Images:
    """Images, uint8 [N, 32, 32, 3], and labels, int64 [N], on the training device."""

    pixels: Tensor
    labels: Tensor

    @property
    def device(self) -> torch.device:
        """The training device."""
        return self.pixels.device


@dataclass(frozen=True)
class Signals:
    """A teacher's logits [A, N, C] and features [A, N, D], float16, of A crops of N images."""

    logits: Tensor
    features: Tensor

    def of(self, indices: Tensor, numbers: Tensor) -> TeacherOutputs:
        """The outputs for the crops `numbers` of the images `indices`."""
        logits, features = self.logits[numbers, indices], self.features[numbers, indices]
        return TeacherOutputs(logits.float(), features.float())


class Teachers:
    """The teachers of all rows; what is trained is kept in `work`."""

    def __init__(
        self, images: Images, weights: Path, texts: Tensor, work: Path, epochs: int = TUNING_EPOCHS
    ) -> None:
        """`weights` is the published teacher's file, `texts` [V, C, d] the classes' embeddings."""
        self._images, self._weights, self._texts = images, weights, texts
        self._work, self._epochs = work, epochs
        work.mkdir(parents=True, exist_ok=True)

    def signals(self, kind: Outputs, count: int) -> Signals:
        """The outputs of a kind for the first `count` crops."""
        views: list[View] = list(VIEWS) if "views" in kind else list(VIEWS[:1])
        network = self._network(kind, views)
        weights = uniform_weights(len(self._images.labels), len(views))
        if kind == "weighted views":
            weights = self._weights_by_text(network)
        return outputs(network, self._images, views, weights, count)

    def _network(self, kind: Outputs, views: list[View]) -> Classifier:
        classes = self._texts.shape[1]
        network, _ = create(TEACHER, classes, {}, 32, scratch=False)
        initialise(network, TEACHER, str(self._weights))
        network.to(self._images.device).to(memory_format=torch.channels_last)
        if kind == "published":
            return network.eval()
        file = self._work / f"teacher-{len(views)}.safetensors"
        if not file.exists():
            images = TrainingImages(self._images.pixels, self._images.labels, "crop", 1)
            schedule = Schedule(self._epochs, TUNING_BATCH, TUNING_RATE, TUNING_DECAY, 0)
            torch.manual_seed(0)
            device, events = self._images.device, SilentEvents()
            fine_tune(network, images, _VIEWS, schedule, device, events, trained_views=views)
            save_file({k: v.contiguous() for k, v in network.state_dict().items()}, file)
        network.load_state_dict(load_file(file))
        return network.eval()

    def _weights_by_text(self, network: Classifier) -> Tensor:
        """Weights [N, V] by the text scores of the label, from the images as they are."""
        found = []
        for rows in torch.split(torch.arange(len(self._images.labels)), _AT_ONCE):
            with torch.inference_mode():
                batch = to_float(self._images.pixels, rows, self._images.device)
                views = make_views(batch, _VIEWS, list(VIEWS))
                found.append(torch.stack([network(view)[1] for view in views]).cpu())
        features, labels = torch.cat(found, dim=1), self._images.labels.cpu()
        projection = fit_projection(features, labels, self._texts)
        scores = projected_scores(features, projection, self._texts)
        return semantic_weights(scores, labels, WEIGHT_TEMPERATURE)


def outputs(
    network: Classifier, images: Images, views: list[View], weights: Tensor, count: int
) -> Signals:
    """What a network says of the first `count` crops, fused over `views` by weights [N, V]."""
    frame, weights = padded(images.pixels), weights.to(images.device)
    every = torch.arange(len(images.labels), device=images.device)
    made: list[tuple[Tensor, Tensor]] = []
    for number in range(count):
        parts = []
        for rows in torch.split(every, _AT_ONCE):
            with torch.inference_mode(), _half(images.device):
                batch = crops(frame, rows, torch.full_like(rows, number))
                seen = make_views(batch, _VIEWS, views).flatten(0, 1)
                answers = network(seen.contiguous(memory_format=torch.channels_last))
                each = (part.float().unflatten(0, (len(views), -1)) for part in answers)
                parts.append([fuse(part, weights[rows]).half() for part in each])
        made.append((torch.cat([a for a, _ in parts]), torch.cat([b for _, b in parts])))
    return Signals(torch.stack([a for a, _ in made]), torch.stack([b for _, b in made]))


def _half(device: torch.device) -> torch.autocast:
    """float16 on a GPU: its logits are rounded to eleven bits in the end anyway."""
    return torch.autocast(device.type, torch.float16, enabled=device.type == "cuda")
