"""The operators that can be converted, by their names in the ONNX standard."""

from __future__ import annotations

from tmkd_deploy.models.onnx_import import arithmetic, layers, shapes
from tmkd_deploy.models.onnx_import.operator import Convert

OPERATORS: dict[str, Convert] = {**layers.OPERATORS, **arithmetic.OPERATORS, **shapes.OPERATORS}
