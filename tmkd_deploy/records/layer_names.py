"""The names of a model's layers: as its author gave them, and as they are inside our network."""

from __future__ import annotations

PREFIXES = ("backbone.", "last.")  # that `models.network` adds


def user_name(layer: str) -> str:
    """A layer's name without the part that our network adds, which users need not know."""
    prefix = next(filter(layer.startswith, PREFIXES), "")
    return layer.removeprefix(prefix)
