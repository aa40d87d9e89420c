"""Benches, which run engines to measure them: on this machine or on an attached device."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tmkd_deploy.devices.device import Device
from tmkd_deploy.engines.onnxruntime import OnnxRuntime
from tmkd_deploy.events import Events, track
from tmkd_deploy.measure.latency import latency_from, measure_latency
from tmkd_deploy.recipe.schema import Measure
from tmkd_deploy.records.measurements import Latency
from tmkd_deploy.records.types import RuntimeName

# latency runs cycle through this many images
TIMED_IMAGES = 32


@dataclass(frozen=True)
class EngineUnderTest:
    """One engine to measure; `precise_int8` as in `runtime.onnxruntime_session`."""

    label: str
    runtime: RuntimeName
    file: Path
    precise_int8: bool | None = None


class Bench(Protocol):
    """Runs engines by name; they are timed in the order of the mapping."""

    engines_under_test: Mapping[str, EngineUnderTest]

    def logits(self, name: str) -> np.ndarray:
        """Logits, float32 [N, C], of all test images, run one at a time."""

    def latency(self, seed: int) -> Latency:
        """Time all engines interleaved; `seed` is for the bootstrap intervals."""


class LocalBench:
    """This machine, which runs ONNX Runtime engines."""

    def __init__(
        self,
        engines_under_test: Mapping[str, EngineUnderTest],
        images: np.ndarray,
        settings: Measure,
        events: Events,
    ) -> None:
        """`images`: the test images, uint8 [N, H, W, 3]."""
        self.engines_under_test = engines_under_test
        self._images = images
        self._settings = settings
        self._events = events
        self._sessions = {
            name: OnnxRuntime().open(engine.file, settings.threads, engine.precise_int8)
            for name, engine in engines_under_test.items()
        }

    def logits(self, name: str) -> np.ndarray:
        """As `Bench.logits`."""
        session, images = self._sessions[name], self._images
        frames = (np.ascontiguousarray(images[index : index + 1]) for index in range(len(images)))
        description = f"Evaluating {self.engines_under_test[name].label}"
        tracked = track(self._events, frames, description, len(images), "images")
        return np.concatenate([session.infer(frame) for frame in tracked]).astype(np.float32)

    def latency(self, seed: int) -> Latency:
        """As `Bench.latency`."""
        return measure_latency(
            {
                name: (self.engines_under_test[name].label, each)
                for name, each in self._sessions.items()
            },
            np.asarray(self._images[:TIMED_IMAGES]),
            self._settings,
            seed,
            self._events,
        )


class DeviceBench:
    """An attached device, locked for this run; each file is uploaded only once."""

    def __init__(
        self,
        engines_under_test: Mapping[str, EngineUnderTest],
        images: Path,
        settings: Measure,
        device: Device,
    ) -> None:
        """`images`: the .npy file of the test images, uint8 [N, H, W, 3]."""
        self.engines_under_test = engines_under_test
        self._settings = settings
        self._device = device
        self._images = images
        self._sent: dict[str, str] = {}

    def logits(self, name: str) -> np.ndarray:
        """As `Bench.logits`."""
        answer = self._device.request(
            "predict",
            **self._engine(name),
            images=self._device.upload(self._images),
            threads=self._settings.threads,
        )
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "logits.npy"
            self._device.download(answer["logits"], file)
            logits: np.ndarray = np.load(file, allow_pickle=False)
        return logits

    def latency(self, seed: int) -> Latency:
        """As `Bench.latency`."""
        settings = self._settings
        with tempfile.TemporaryDirectory() as folder:
            timed_images = Path(folder) / "images.npy"
            images = np.load(self._images, mmap_mode="r", allow_pickle=False)
            np.save(timed_images, images[:TIMED_IMAGES], allow_pickle=False)
            timed = self._device.request(
                "measure",
                engines=[{"name": name, **self._engine(name)} for name in self.engines_under_test],
                images=self._device.upload(timed_images),
                settings=settings.model_dump(),
            )
        labels = {name: engine.label for name, engine in self.engines_under_test.items()}
        return latency_from(timed, labels, settings, seed)

    def _engine(self, name: str) -> dict[str, Any]:
        engine = self.engines_under_test[name]
        if name not in self._sent:
            self._sent[name] = self._device.upload(engine.file)
        return {
            "runtime": engine.runtime,
            "engine": self._sent[name],
            "precise_int8": engine.precise_int8,
        }
