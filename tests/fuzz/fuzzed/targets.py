"""Every target by its name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_UNIT = Path(__file__).parents[2] / "unit"
for _package in ("bundle", "report"):  # what their tests make bundles and reports with
    if str(_UNIT / _package) not in sys.path:
        sys.path.append(str(_UNIT / _package))

from fuzzed import (  # noqa: E402 - after the path is set
    addresses,
    agent_replies,
    agent_requests,
    bundles,
    files,
    image_folders,
    images,
    irregular,
    npy_headers,
    onnx_files,
    onnx_models,
    parquet_shards,
    recipes,
    tar_shards,
)
from fuzzed.target import Target  # noqa: E402

MODULES = (
    *(
        recipes,
        addresses,
        agent_replies,
        agent_requests,
        bundles,
        npy_headers,
        onnx_files,
        onnx_models,
    ),
    *(images, tar_shards, parquet_shards, image_folders, irregular, files),
)
TARGETS: dict[str, Target] = {
    target.name: target for module in MODULES for target in module.TARGETS
}


def missing(target: Target) -> list[str]:
    """The packages that `target` needs and that are not installed."""
    return [name for name in target.needs if importlib.util.find_spec(name) is None]
