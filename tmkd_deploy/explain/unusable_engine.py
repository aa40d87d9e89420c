"""Engines without usable logits, and the first layer where FP16 overflows."""

from __future__ import annotations

import numpy as np

from tmkd_deploy.explain.graph import Graph
from tmkd_deploy.explain.interface import Finding, Kind
from tmkd_deploy.export.fp16_overflow import LARGEST, first_overflow
from tmkd_deploy.records.measurements import Unusable

_ADVICE = (
    "Ship a precision whose logits are finite (see the target's precisions), then look for what "
    "broke this one: the first image is named above."
)
_ADVICE_OVERFLOW = (
    "Ship FP32, or INT8 if this layer is quantized there; or choose a student whose activations "
    "stay smaller. FP16 has no setting that excludes a layer."
)


def unusable_engine(unusable: Unusable | None) -> list[Finding]:
    """One finding if the engine has no usable logits."""
    if unusable is None:
        return []
    return [Finding(Kind.UNUSABLE, unusable.reason, _ADVICE)]


def fp16_overflow(source: Graph, images: np.ndarray) -> list[Finding]:
    """One finding on the first layer whose output exceeds FP16's range on some of `images`.

    Args:
        source: the graph that the engine was built from.
        images: uint8 [N, H, W, 3].
    """
    node = first_overflow(source.proto, images)
    if node is None:
        return []
    return [
        Finding(
            Kind.FP16_OVERFLOW,
            f"The output of {source.where(node)} exceeds {LARGEST:,}, the largest finite value in "
            "FP16, and is the first to do so.",
            _ADVICE_OVERFLOW,
            source.near(node),
            node.name,
        )
    ]
