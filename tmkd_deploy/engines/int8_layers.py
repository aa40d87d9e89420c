"""Count the INT8 layers of a TensorRT engine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# the builders' names of weighted layers: convolutions, correlations, matrix products
_WEIGHTED = ("conv", "corr", "gemm", "matmul", "matrixmultiply", "fullyconnected")


def count_int8(layers: Iterable[dict[str, Any]]) -> tuple[int, int]:
    """How many convolutions and matrix products have INT8 inputs, and how many there are.

    Each layer has `kind` and `inputs`, its input types, as the agent lists them.
    """
    weighted = [each for each in layers if any(word in each["kind"].lower() for word in _WEIGHTED)]
    return sum("Int8" in each["inputs"] for each in weighted), len(weighted)
