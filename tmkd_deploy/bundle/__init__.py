"""Packs the engine that ships into one file."""
