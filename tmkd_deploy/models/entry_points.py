"""What installed packages say of the models that they offer; importable with nothing installed."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

GROUP = "tmkd_deploy.models"


def identity(model: str) -> dict[str, Any] | None:
    """What a result depends on besides the name: the version and the code of the package.

    None for models of other origins. Nothing of the package is imported.
    """
    found = entry_points().get(model) if ":" in model else None
    if found is None:
        return None
    digest = hashlib.sha256()
    for path in _files(found.module.partition(".")[0]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return {"version": found.dist.version if found.dist else None, "code": digest.hexdigest()}


def entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    """The entry points of all factories, by the names that recipes give them."""
    found = {}
    for each in importlib.metadata.entry_points(group=GROUP):
        if each.dist is not None:
            found[f"{canonicalize_name(each.dist.name)}:{each.name}"] = each
    return found


def _files(package: str) -> list[Path]:
    """The Python files of an installed package or of a single module, in a fixed order."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        return []
    if spec.submodule_search_locations:
        folders = map(Path, spec.submodule_search_locations)
        return [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return [Path(spec.origin)] if spec.origin else []
