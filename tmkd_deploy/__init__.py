"""Distil, quantize, export, build, measure, gate and bundle vision models for edge devices."""

__version__ = "0.1.0"
