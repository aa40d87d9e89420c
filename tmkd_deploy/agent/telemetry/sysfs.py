"""The small files in which Linux tells of a machine."""

from __future__ import annotations

from pathlib import Path


def text(path: Path) -> str | None:
    """A file's text without white space around it; None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \t\n")
    except OSError:
        return None


def number(path: Path) -> int | None:
    """A file's whole number; None where it cannot be read or holds none."""
    try:
        return int(text(path) or "")
    except ValueError:
        return None
