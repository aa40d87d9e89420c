"""One student whose step is a CUDA graph, so that many of them keep a GPU busy side by side."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.cifar_gpu.crops import crops, padded
from benchmarks.cifar_gpu.plan import BATCH, DECAY, RATE, STUDENT, Row
from benchmarks.cifar_gpu.signals import Images, Signals
from tmkd_deploy.distill.losses.total import StudentLoss
from tmkd_deploy.models.classifier import create
from tmkd_deploy.training.randomness import generator
from tmkd_deploy.training.schedule import Schedule

_EAGER_STEPS = 3  # before a capture: libraries choose their kernels and allocate in them


class Student:
    """A student in training. On a CPU, every step runs eagerly."""

    def __init__(
        self,
        row: Row,
        seed: int,
        images: Images,
        signals: Signals | None,
        texts: Tensor,
        crop_count: int,
        epochs: int,
    ) -> None:
        """`signals` has the outputs for `crop_count` crops, `texts` [C, d] the classes' texts."""
        torch.manual_seed(seed)
        device = images.device
        network, width = create(STUDENT, len(texts), {}, 32, scratch=False)
        loss = StudentLoss(row, width, signals.features.shape[-1] if signals else 1, texts)
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self._loss = loss.to(device)
        self._schedule = Schedule(epochs, BATCH, RATE, DECAY, seed, "sgd", "multistep")
        self._trained = [*self.network.parameters(), *self._loss.parameters()]
        self._optimizer = self._schedule.new_optimizer(self._trained)
        self._images, self._signals, self._crop_count = images, signals, crop_count
        self._frame = padded(images.pixels)
        self._per_epoch = self._schedule.steps_per_epoch(len(images.labels))
        self.steps, self.done = epochs * self._per_epoch, 0
        self._warmup_epochs = row.teacher_warmup_epochs
        self._stream = torch.cuda.Stream() if device.type == "cuda" else None
        self._graph: Any = None
        self._captured: tuple[float, int] | None = None
        self._eager_steps = 0
        self._order, self._numbers = torch.empty(0), torch.empty(0)
        held = torch.zeros(2, BATCH, dtype=torch.int64, device=device)
        self._batch = held[0], held[1]

    def step(self) -> None:
        """One step of the schedule, replayed where its constants are those of the graph."""
        epoch, position = divmod(self.done, self._per_epoch)
        rate = self._schedule.learning_rate_at(self.done, self.steps)
        with torch.cuda.stream(self._stream) if self._stream else contextlib.nullcontext():
            if position == 0 or not len(self._order):
                self._shuffle(epoch)
            rows = slice(position * BATCH, (position + 1) * BATCH)
            batch = self._order[rows], self._numbers[rows]
            # the rate and the warm-up of the teacher's terms are numbers in the graph
            constants = rate, min(epoch, self._warmup_epochs)
            if self._captured != constants:
                self._graph, self._captured, self._eager_steps = None, constants, 0
            if self._stream is None or len(batch[0]) < BATCH or self._eager_steps < _EAGER_STEPS:
                self._optimizer.zero_grad(set_to_none=True)
                self._update(*batch, rate, epoch)
                self._eager_steps += 1
            else:
                for held, given in zip(self._batch, batch, strict=True):
                    held.copy_(given)
                if self._graph is None:
                    self._capture(rate, epoch)
                self._graph.replay()
        self.done += 1

    def top1(self, images: Images) -> float:
        """The share of images whose highest logit is their label's."""
        self.network.eval()
        right = 0
        with torch.inference_mode():
            for rows in torch.split(torch.arange(len(images.labels), device=images.device), 1000):
                pixels = images.pixels[rows].permute(0, 3, 1, 2).float() / 255.0
                found = self.network(pixels)[0].argmax(dim=1)
                right += int((found == images.labels[rows]).sum())
        self.network.train()
        return right / len(images.labels)

    def save(self, file: Path) -> None:
        """Write the state after the steps done."""
        made = file.with_suffix(".part")
        modules = self.network.state_dict(), self._loss.state_dict()
        torch.save([self.done, *modules, self._optimizer.state_dict()], made)
        made.rename(file)

    def load(self, file: Path) -> None:
        """Go on from a state that `save` wrote."""
        state = torch.load(file, map_location=self._images.device, weights_only=True)
        self.done, network, loss, optimizer = state
        self.network.load_state_dict(network)
        self._loss.load_state_dict(loss)
        self._optimizer.load_state_dict(optimizer)

    def _shuffle(self, epoch: int) -> None:
        count, device = len(self._images.labels), self._images.device
        random = generator(self._schedule.seed, "order", epoch)
        self._order = torch.randperm(count, generator=random).to(device)
        self._numbers = torch.randint(self._crop_count, (count,), generator=random).to(device)

    def _update(self, indices: Tensor, numbers: Tensor, rate: float, epoch: int) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        images = crops(self._frame, indices, numbers)
        logits, features = self.network(images.contiguous(memory_format=torch.channels_last))
        teacher = self._signals.of(indices, numbers) if self._signals else None
        loss = self._loss(logits, features, self._images.labels[indices], teacher, epoch)
        loss.backward()
        self._optimizer.step()

    def _capture(self, rate: float, epoch: int) -> None:
        """Capture a step on the held batch; capturing runs nothing."""
        self._optimizer.zero_grad(set_to_none=True)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=self._stream):
            self._update(*self._batch, rate, epoch)
