"""Whether an engine on a device decides as its ONNX file does here."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from tmkd_deploy.prove.built import Built
from tmkd_deploy.prove.outcome import Evidence, expect
from tmkd_deploy.prove.workbench import Workbench

_LEAST = 0.98


def expect_same_decisions(
    bench: Workbench, evidence: Evidence, built: Built, name: str, engine: str | None = None
) -> None:
    """Raise `Contradicted` unless `built` agrees with its ONNX file on 98 % of the test images.

    `name` is for the figures; `engine` is another engine of the same file.
    """
    logits = bench.logits(engine or built.engine, built.runtime, bench.test_images)
    reference = _reference(built.model, bench.test_images)
    agreement = float((logits.argmax(axis=1) == reference.argmax(axis=1)).mean())
    difference = float(np.abs(logits - reference).max()) if _fits(logits, reference) else None
    evidence.add(
        **{
            f"{name}_agreement": agreement,
            f"{name}_largest_difference": difference,
            f"{name}_largest_logit": float(np.abs(reference).max()),
        }
    )
    expect(_fits(logits, reference), f"{name} answers with {logits.shape[1]} classes.")
    expect(agreement >= _LEAST, f"{name} agrees with its ONNX file on {agreement:.0%} only.")


def _fits(logits: np.ndarray, reference: np.ndarray) -> bool:
    return logits.shape == reference.shape


@functools.lru_cache(maxsize=32)
def _reference(model: Path, images: Path) -> np.ndarray:
    from tmkd_deploy.export.reference import reference_logits  # noqa: PLC0415 - needs onnx

    return reference_logits(model, np.load(images, allow_pickle=False))
