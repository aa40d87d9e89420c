"""How much of a TensorRT engine computes in integers, by its own list of layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# what the builders call layers with weights: convolutions, correlations, matrix products
_WEIGHTED = ("conv", "corr", "gemm", "matmul", "matrixmultiply", "fullyconnected")


def count_int8(layers: Iterable[dict[str, Any]]) -> tuple[int, int]:
    """How many convolutions and matrix products take INT8, and how many there are.

    `layers` have `kind` and `inputs`, the types that a layer takes, as `agent.layers` lists them.
    """
    weighted = [each for each in layers if any(word in each["kind"].lower() for word in _WEIGHTED)]
    return sum("Int8" in each["inputs"] for each in weighted), len(weighted)
