"""Accuracy ledger and latency of every engine."""
