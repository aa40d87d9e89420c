"""Checkpoints: everything a training needs to resume after its process was killed.

Random numbers are functions of the seed and the step (see `randomness`), so the weights, the
optimizer's state, the number of completed steps and what was found on the validation split so far
are sufficient.
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
from tmkd_deploy.memory_limit import memory_at_most
from tmkd_deploy.runtime.regular_file import open_regular

_FORMAT = 3
_MEMORY_BESIDES = 2 << 30  # what torch and other threads need while a checkpoint is read


@dataclass(frozen=True)
class Checkpoints:
    """Where one stage keeps its trainings' checkpoints, and how often it writes them.

    `fingerprint` is the stage's; a checkpoint with another one is never used. With `every_steps` 0
    only the time counts. `writes` is False in processes that only read.
    """

    folder: Path
    stage: str
    fingerprint: str
    every_minutes: float = 5.0
    every_steps: int = 0
    writes: bool = True

    def for_training(self, training: str) -> Checkpoint:
        """The checkpoint of the stage's training with this human-readable name."""
        name = re.sub(r"[^a-z0-9]+", "-", training.lower()).strip("-")
        file = f"{self.stage}-{self.fingerprint[:12]}-{name}.pt"
        return Checkpoint(self.folder / file, training, self)


class Checkpoint:
    """One training's checkpoint file, replaced atomically at each write."""

    def __init__(self, path: Path, training: str, settings: Checkpoints) -> None:
        self.path = path
        self._training = training
        self._settings = settings
        self._last_write = time.monotonic()

    def is_due(self, steps: int) -> bool:
        """Whether to write now, after `steps` completed steps."""
        settings = self._settings
        if not settings.writes:
            return False
        by_steps = settings.every_steps > 0 and steps % settings.every_steps == 0
        return by_steps or time.monotonic() - self._last_write >= 60 * settings.every_minutes

    def write(self, state: dict[str, Any]) -> None:
        """Write `state`, tensors and plain values, replacing the previous file only on success."""
        if not self._settings.writes:
            return
        # torch would hide the OSError of a full disk, so serialize into memory first
        encoded = io.BytesIO()
        torch.save({**self._header(), "state": state}, encoded)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}-draft-{os.getpid()}")
        try:
            with draft.open("wb") as stream:
                stream.write(encoded.getbuffer())
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)
        self._last_write = time.monotonic()

    def read(self) -> dict[str, Any] | None:
        """The saved state, on the CPU; None if there is no checkpoint.

        Raises:
            DataError: the file cannot be read, or belongs to another recipe or training.
        """
        try:
            with open_regular(self.path) as stream:
                size = os.fstat(stream.fileno()).st_size
                with memory_at_most(3 * size + _MEMORY_BESIDES):
                    saved = torch.load(stream, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except Exception as error:  # a truncated file makes the unpickler raise arbitrary errors
            raise self._unusable("it cannot be read") from error
        if not isinstance(saved, dict) or "state" not in saved:
            raise self._unusable("it is not a training checkpoint")
        if {name: saved.get(name) for name in self._header()} != self._header():
            raise self._unusable("it was written for another recipe, other data or another version")
        return dict(saved["state"])

    def restore(self, load: Callable[[dict[str, Any]], None], state: dict[str, Any]) -> None:
        """Pass `state` to `load`; a mismatch is reported as an error of this file.

        Raises:
            DataError: the state does not fit the model.
        """
        try:
            load(state)
        except (RuntimeError, ValueError, KeyError) as error:
            raise self._unusable("it does not fit this model") from error

    def _header(self) -> dict[str, str | int]:
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
            advice="Delete this file; the training then starts from the beginning.",
        )
