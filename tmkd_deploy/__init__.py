"""Distil, quantize, export, build, measure, gate and bundle vision models for edge devices."""

import os
import sys

__version__ = "0.1.0"

# ONNX Runtime 1.32 collects telemetry unless this is set before it is imported: merely opening an
# engine would create a device's identity in the user's cache folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Merely importing OpenVINO reports that to its makers, unless it cannot import this.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
