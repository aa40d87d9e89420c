"""Fake quantizers, calibration, fine-tuning, sensitivity."""
