"""Reading the small files in which Linux describes a machine; any of them may be missing."""

from __future__ import annotations

import re
from pathlib import Path


def text(path: Path) -> str | None:
    """A file's text, without NUL bytes and white space around it; None if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \t\n")
    except OSError:
        return None


def first_line(path: Path) -> str | None:
    """A file's first line; None if it is empty or cannot be read."""
    return (text(path) or "").partition("\n")[0].strip() or None


def number(path: Path) -> int | None:
    """A file's integer; None if it cannot be read or holds no integer."""
    try:
        return int(text(path) or "")
    except ValueError:
        return None


def memory_mb() -> dict[str, int]:
    """The entries of /proc/meminfo, such as MemTotal and MemAvailable, in MiB."""
    return parse_memory(text(Path("/proc/meminfo")) or "")


def parse_memory(meminfo: str) -> dict[str, int]:
    """Each entry of /proc/meminfo's text in MiB."""
    return {
        name: int(size) // 1024
        for name, size in re.findall(r"^(\w+): +(\d+) kB$", meminfo, re.MULTILINE)
    }
