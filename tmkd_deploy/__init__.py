"""Distil, quantize, export, build, measure, gate and bundle vision models for edge devices."""

import os

__version__ = "0.1.0"

# ONNX Runtime 1.32 collects telemetry unless this is set before it is imported: merely opening an
# engine would create a device's identity in the user's cache folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
