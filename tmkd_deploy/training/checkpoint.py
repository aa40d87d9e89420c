"""Checkpoints: what a training needs to go on after the process was killed.

Random numbers are functions of the seed and the step (`randomness`), so weights, the optimizer's
state and the number of steps done are all there is to keep.
"""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tmkd_deploy.errors import DataError

_FORMAT = 1


@dataclass(frozen=True)
class Checkpoints:
    """Where the trainings of one stage are kept, and how often.

    `fingerprint` is the stage's: a checkpoint made for another one is never used. `writes` is false
    in processes that only read.
    """

    folder: Path
    stage: str
    fingerprint: str
    every_minutes: float = 5.0
    every_steps: int = 0
    writes: bool = True

    def of(self, training: str) -> Checkpoint:
        """The checkpoint of one training of the stage, by its name in plain words."""
        name = re.sub(r"[^a-z0-9]+", "-", training.lower()).strip("-")
        file = f"{self.stage}-{self.fingerprint[:12]}-{name}.pt"
        return Checkpoint(self.folder / file, training, self)


class Checkpoint:
    """One training's file, rewritten whole from time to time."""

    def __init__(self, path: Path, training: str, settings: Checkpoints) -> None:
        self.path = path
        self._training = training
        self._settings = settings
        self._written = time.monotonic()

    def is_due(self, steps: int) -> bool:
        """Whether it is time to write, `steps` being done."""
        settings = self._settings
        if not settings.writes:
            return False
        by_steps = settings.every_steps > 0 and steps % settings.every_steps == 0
        return by_steps or time.monotonic() - self._written >= 60 * settings.every_minutes

    def write(self, state: dict[str, Any]) -> None:
        """Keep `state`: tensors and plain values. The file before it stays until this is whole."""
        if not self._settings.writes:
            return
        # torch hides a full disk behind an error of its own, so it writes into memory
        encoded = io.BytesIO()
        torch.save({**self._label(), "state": state}, encoded)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f".{self.path.name}-draft-{os.getpid()}")
        try:
            with beside.open("wb") as stream:
                stream.write(encoded.getbuffer())
                stream.flush()
                os.fsync(stream.fileno())
            beside.replace(self.path)
        finally:
            beside.unlink(missing_ok=True)
        self._written = time.monotonic()

    def read(self) -> dict[str, Any] | None:
        """The state that was kept, on the CPU; None where there is none.

        Raises:
            DataError: the file cannot be read, or belongs to another recipe or training.
        """
        try:
            kept = torch.load(self.path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except Exception as error:  # half a file makes the unpickler raise whatever it likes
            raise self._unusable("it cannot be read") from error
        if not isinstance(kept, dict) or "state" not in kept:
            raise self._unusable("it is no checkpoint of a training")
        if {name: kept.get(name) for name in self._label()} != self._label():
            raise self._unusable("it was made for another recipe, other data or another version")
        return dict(kept["state"])

    def restore(self, load: Callable[[dict[str, Any]], None], state: dict[str, Any]) -> None:
        """Hand `state` to `load`; what does not fit there is told as an error of this file."""
        try:
            load(state)
        except (RuntimeError, ValueError, KeyError) as error:
            raise self._unusable("it does not fit this model") from error

    def _label(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "format": _FORMAT,
            "stage": settings.stage,
            "training": self._training,
            "fingerprint": settings.fingerprint,
        }

    def _unusable(self, why: str) -> DataError:
        return DataError(
            f"The checkpoint of {self._training!r} cannot be used: {why}.",
            where=str(self.path),
            advice="Delete this file; the training then begins anew.",
        )
