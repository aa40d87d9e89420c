"""Builds engines; one file per runtime."""
