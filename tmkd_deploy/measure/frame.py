"""What a frame costs an application: `predict`, and the resizing in it, timed as sessions are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tmkd_deploy import __version__
from tmkd_deploy.records.latency import FrameLatency, LatencyRow
from tmkd_deploy.runtime.archive import Contents
from tmkd_deploy.runtime.bundle_classifier import Classifier
from tmkd_deploy.runtime.bundle_engine import Engine
from tmkd_deploy.runtime.decision import Decision
from tmkd_deploy.runtime.manifest import FORMAT_VERSION, Manifest
from tmkd_deploy.runtime.manifest_engine import BundledEngine
from tmkd_deploy.runtime.preprocess import Preprocessing

if TYPE_CHECKING:
    from tmkd_deploy.runtime.runtimes import Session

_RESIZING = "resizing"
_FRAME = "frame "
_MOST_BYTES = 64 << 20  # of all frames, more than caches hold


@dataclass(frozen=True)
class FrameTiming:
    """A camera's frames, and the application that classifies them.

    `engines` are the names of those that may ship.
    """

    width: int
    height: int
    engines: Sequence[str]
    preprocessing: Preprocessing
    class_names: Sequence[str]

    def sessions(
        self,
        engines: Mapping[str, Session],
        decisions: Mapping[str, Decision | None],
        images: np.ndarray,
    ) -> dict[str, _OnFrames]:
        """What to time beside the engines, by names that are no engine's.

        Args:
            engines: the open engines by name.
            decisions: of the engines, likewise.
            images: uint8 [N, height, width, 3], N >= 1; frames are made of them.
        """
        frames = self._frames(images)
        return {_RESIZING: _OnFrames(self.preprocessing, frames)} | {
            _FRAME + name: _OnFrames(_answers(self._classifier(session, decisions[name])), frames)
            for name, session in engines.items()
            if name in self.engines
        }

    def labels(self, engines: Mapping[str, str]) -> dict[str, str]:
        """The labels of `sessions`, from those of the engines."""
        whole = {_FRAME + name: f"{engines[name]}, whole frame" for name in self._of(engines)}
        return {_RESIZING: "Resizing", **whole}

    def latency(self, rows: Mapping[str, LatencyRow]) -> FrameLatency:
        """The frames' part of the rows by name."""
        return FrameLatency(
            width=self.width,
            height=self.height,
            resizing=rows[_RESIZING],
            rows=[
                rows[_FRAME + name].model_copy(update={"engine": name, "label": rows[name].label})
                for name in self._of(rows)
            ],
        )

    def _of(self, names: Mapping[str, object]) -> list[str]:
        return [name for name in names if name in self.engines]

    def _frames(self, images: np.ndarray) -> list[np.ndarray]:
        """Frames uint8 [frame height, frame width, 3] of the images; as many as memory allows."""
        size = self.width, self.height
        most = max(1, _MOST_BYTES // (3 * self.width * self.height))
        enlarged = (Image.fromarray(np.asarray(image)).resize(size) for image in images[:most])
        return [np.array(frame) for frame in enlarged]

    def _classifier(self, session: Session, decision: Decision | None) -> Classifier:
        """An application's classifier that runs an open engine."""
        to = self.preprocessing
        engine = BundledEngine(
            target="",
            runtime="",
            precision="",
            engine="",
            golden_inputs="",
            golden_outputs="",
            golden_tolerance=0,
            gate="not_judged",
            gate_checks=(),
            accuracy=None,
            latency=None,
            threads=None,
            decision=decision,
        )
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            name="",
            tool_version=__version__,
            class_names=tuple(self.class_names),
            height=to.height,
            width=to.width,
            resize=to.resize,
            grayscale=to.grayscale,
            engines=(engine,),
            files={},
        )
        contents = Contents(Path(), 0, "", manifest, {})
        return Classifier(manifest, Engine(contents, engine, session, "bundle"))


class _OnFrames:
    """A session that takes the next frame instead of what it is given."""

    def __init__(
        self, process: Callable[[np.ndarray], np.ndarray], frames: Sequence[np.ndarray]
    ) -> None:
        self._process = process
        self._next = itertools.cycle(frames).__next__

    def infer(self, images: np.ndarray) -> np.ndarray:
        """Process the next frame."""
        return self._process(self._next())


def _answers(classifier: Classifier) -> Callable[[np.ndarray], np.ndarray]:
    def predict(frame: np.ndarray) -> np.ndarray:
        found = classifier.predict(frame)
        _ = found.confidence  # it is computed when it is read
        return found.logits

    return predict
