"""Describe an engine that was just built."""

from __future__ import annotations

from pathlib import Path

from tmkd_deploy.artifacts import sha256_of
from tmkd_deploy.records.measurements import EngineFile, TiedTo
from tmkd_deploy.records.types import Precision


def describe_engine(
    precision: Precision,
    file: Path,
    layers: tuple[int | None, int | None] = (None, None),
    tied_to: TiedTo | None = None,
) -> EngineFile:
    """The record of an engine's file.

    Args:
        precision: of the engine.
        file: the engine.
        layers: how many weighted layers run in INT8, and how many there are, if that is known.
        tied_to: the only kind of machine that it runs on, if there is one.
    """
    int8_layers, total_layers = layers
    return EngineFile(
        precision=precision,
        file=file.name,
        bytes=file.stat().st_size,
        sha256=sha256_of(file),
        int8_layers=int8_layers,
        total_layers=total_layers,
        tied_to=tied_to,
    )
