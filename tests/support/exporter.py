"""Quicker exports: torch's exporter parses its whole operator library for each of them."""

from __future__ import annotations

import functools
from typing import Any


def remember_operators() -> None:
    """Parse each operator once per process, where this version of onnxscript lets us."""
    from onnxscript._internal import values

    kind: Any = getattr(values, "TracedOnnxFunction", None)
    parse = getattr(getattr(kind, "function_ir", None), "fget", None)
    if parse is not None:
        kind.function_ir = property(functools.cache(parse))
