"""Telling the path of an ONNX file from a model's name; light enough for the command line."""

from __future__ import annotations

SUFFIX = ".onnx"


def is_onnx_file(model: str) -> bool:
    """Whether what names a model is the path of an ONNX file."""
    return model.endswith(SUFFIX)
