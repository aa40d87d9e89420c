"""An engine on the device, and what the device sends of it, which is checked before use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, TypeAdapter

from tmkd_deploy.bounded_json import parse_json
from tmkd_deploy.errors import DataError
from tmkd_deploy.records.types import RuntimeName


@dataclass(frozen=True)
class Built:
    """An engine on the device, by its SHA-256 there.

    `model` is the file that it answers like; `layers` and `log` are what the builder left, empty if
    nothing; `reused` tells whether the agent had built it before.
    """

    runtime: RuntimeName
    engine: str
    model: Path
    sidecar: Mapping[str, Any]
    layers: list[dict[str, Any]]
    log: list[str]
    reused: bool

    @property
    def details(self) -> Mapping[str, Any]:
        """What the manifest records of the build; empty if it records nothing."""
        found = self.sidecar.get("build")
        return found if isinstance(found, dict) else {}

    @property
    def fallback(self) -> list[str]:
        """The layers that left the DLA."""
        return [str(name) for name in self.sidecar["dla"]["gpu_fallback_layers"]]


class _Layer(BaseModel):
    name: str
    kind: str
    inputs: list[str]


_LAYERS = TypeAdapter(list[_Layer])


def read_layers(text: str) -> list[dict[str, Any]]:
    """The layers in what a device sent.

    Raises:
        DataError: it is something else.
    """
    try:
        return [each.model_dump() for each in _LAYERS.validate_python(parse_json(text.encode()))]
    except ValueError as error:  # pydantic's among them
        raise DataError(
            "The device's list of an engine's layers cannot be read.", advice="Run again."
        ) from error


def read_logits(path: Path, count: int) -> np.ndarray:
    """The logits float64 [count, C] in a file that a device sent.

    Raises:
        DataError: it holds something else.
    """
    try:
        # mapped, because the header of a short file may claim any size
        logits = np.array(np.load(path, mmap_mode="r", allow_pickle=False), np.float64)
    except Exception as error:  # numpy parses the header as Python
        raise _no_logits(str(error)) from error
    if logits.ndim != 2 or len(logits) != count or not np.isfinite(logits).all():
        raise _no_logits(f"their shape is {list(logits.shape)}, or not all are finite")
    return logits


def _no_logits(reason: str) -> DataError:
    return DataError(
        f"The device's logits cannot be used: {reason}.",
        advice="Check the device's disk and its Python.",
    )
