"""Benches, which run engines to measure them: on this machine or on an attached device."""

from __future__ import annotations

import tempfile
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tmkd_deploy.data.split_names import Split
from tmkd_deploy.devices.device import Device
from tmkd_deploy.engines.open_engine import open_engine
from tmkd_deploy.errors import DataError
from tmkd_deploy.events import Events, track
from tmkd_deploy.measure.frame import FrameTiming
from tmkd_deploy.measure.latency import latency_from, time_here
from tmkd_deploy.recipe.schema import Measure
from tmkd_deploy.records.latency import Latency
from tmkd_deploy.records.logits import Logits
from tmkd_deploy.records.types import RuntimeName
from tmkd_deploy.runtime.bundle_errors import BundleError
from tmkd_deploy.runtime.decision import Decision
from tmkd_deploy.runtime.session_options import SessionOptions

# latency runs cycle through this many images
TIMED_IMAGES = 32
# what numpy raises for a file that is none of its own
_NO_ARRAY = (ValueError, EOFError, SyntaxError, TypeError, KeyError, tokenize.TokenError)


@dataclass(frozen=True)
class EngineUnderTest:
    """One engine to measure; `precise_int8` as in `SessionOptions`."""

    label: str
    runtime: RuntimeName
    file: Path
    precise_int8: bool | None = None


class Bench(Protocol):
    """Runs engines by name; they are timed in the order of the mapping."""

    engines_under_test: Mapping[str, EngineUnderTest]

    def answers(self, name: str, split: Split, images: int) -> Sequence[np.ndarray]:
        """What an engine answers for the first `images` of a split, as `Logits` checks it."""

    def latency(
        self,
        checked: Mapping[str, Logits],
        split: Split,
        seed: int,
        decisions: Mapping[str, Decision | None],
    ) -> Latency:
        """Time the `checked` engines interleaved on images of a split.

        `seed` is for the bootstrap intervals, `decisions` of the engines for whole frames.
        """


class LocalBench:
    """This machine, which runs the engines of the CPU runtimes."""

    def __init__(
        self,
        engines_under_test: Mapping[str, EngineUnderTest],
        images: Mapping[Split, np.ndarray],
        settings: Measure,
        events: Events,
        frame: FrameTiming | None = None,
    ) -> None:
        """`images`: of each split that is measured on, uint8 [N, H, W, 3]; `frame`: timed too."""
        self.engines_under_test = engines_under_test
        self._images = images
        self._settings = settings
        self._events = events
        self._frame = frame
        self._sessions = {
            name: open_engine(
                engine.runtime, engine.file, SessionOptions(settings.threads, engine.precise_int8)
            )
            for name, engine in engines_under_test.items()
        }

    def answers(self, name: str, split: Split, images: int) -> list[np.ndarray]:
        """As `Bench.answers`."""
        session, given = self._sessions[name], self._images[split]
        frames = (np.ascontiguousarray(given[at : at + 1]) for at in range(images))
        description = f"Evaluating {self.engines_under_test[name].label}"
        tracked = track(self._events, frames, description, images, "images")
        return [session.infer(frame) for frame in tracked]

    def latency(
        self,
        checked: Mapping[str, Logits],
        split: Split,
        seed: int,
        decisions: Mapping[str, Decision | None],
    ) -> Latency:
        """As `Bench.latency`.

        Raises:
            DataError: an engine fails on a frame, although it was sound on the images.
        """
        sessions = {name: each for name, each in self._sessions.items() if name in checked}
        labels = {name: self.engines_under_test[name].label for name in sessions}
        images = np.asarray(self._images[split][:TIMED_IMAGES])
        on_frames = self._frame.sessions(sessions, decisions, images) if self._frame else {}
        try:
            timed = time_here({**sessions, **on_frames}, images, self._settings, self._events)
        except BundleError as error:
            raise DataError(
                f"An engine fails on frames that were made of the images: {error.problem}",
                advice="Remove `frame` from the target, or measure on other images.",
            ) from error
        return latency_from(timed, labels, self._settings, seed, self._frame)


class DeviceBench:
    """An attached device, locked for this run; each file is uploaded only once."""

    def __init__(
        self,
        engines_under_test: Mapping[str, EngineUnderTest],
        images: Mapping[Split, Path],
        settings: Measure,
        device: Device,
    ) -> None:
        """`images`: the .npy file of each split that is measured on, uint8 [N, H, W, 3]."""
        self.engines_under_test = engines_under_test
        self._settings = settings
        self._device = device
        self._images = images
        self._sent: dict[str, str] = {}

    def answers(self, name: str, split: Split, images: int) -> list[np.ndarray]:
        """As `Bench.answers`.

        Raises:
            DataError: the device sends something else than an array.
        """
        answer = self._device.request(
            "predict",
            **self._engine(name),
            images=self._first(split, images),
            threads=self._settings.threads,
        )
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "logits.npy"
            self._device.download(str(answer.get("logits")), file)
            try:
                # mapped, because the header of a short file may claim any size
                mapped: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
                return [np.array(mapped)]
            except _NO_ARRAY as error:
                raise DataError(
                    f"The device's logits for the {self.engines_under_test[name].label} cannot be "
                    f"read: {error}.",
                    advice="Run again; if this recurs, check the device's disk and its Python.",
                ) from error

    def latency(
        self,
        checked: Mapping[str, Logits],
        split: Split,
        seed: int,
        decisions: Mapping[str, Decision | None],
    ) -> Latency:
        """As `Bench.latency`."""
        settings = self._settings
        under_test = {
            name: engine for name, engine in self.engines_under_test.items() if name in checked
        }
        timed = self._device.request(
            "measure",
            engines=[{"name": name, **self._engine(name)} for name in under_test],
            images=self._first(split, TIMED_IMAGES),
            settings=settings.model_dump(),
        )
        labels = {name: engine.label for name, engine in under_test.items()}
        return latency_from(timed, labels, settings, seed)

    def _first(self, split: Split, count: int) -> str:
        """The name on the device of a file with the first `count` images of a split."""
        images = np.load(self._images[split], mmap_mode="r", allow_pickle=False)
        if count >= len(images):
            return self._device.upload(self._images[split])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "images.npy"
            np.save(file, images[:count], allow_pickle=False)
            return self._device.upload(file)

    def _engine(self, name: str) -> dict[str, Any]:
        engine = self.engines_under_test[name]
        if name not in self._sent:
            self._sent[name] = self._device.upload(engine.file)
        return {
            "runtime": engine.runtime,
            "engine": self._sent[name],
            "precise_int8": engine.precise_int8,
        }
