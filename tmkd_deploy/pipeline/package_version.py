"""Versions of installed packages."""

from __future__ import annotations

import importlib.metadata


def version_of(package: str | None) -> str:
    """The version of an installed package; empty where there is none to name."""
    try:
        return importlib.metadata.version(package) if package else ""
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
