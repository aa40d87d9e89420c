"""A package as another project would write it, installed into a folder of its own."""

from __future__ import annotations

from pathlib import Path

MODULE = """\
from torch import nn


class Tiny(nn.Module):
    mean, std = [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]

    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
        )
        self.last = nn.Linear(16, num_classes)

    def forward(self, images):
        return self.last(self.body(images).relu().mean((2, 3)))


def tiny(num_classes, in_size):
    assert in_size[0] >= 16, "the images are too small"
    return Tiny(num_classes)


def no_module(num_classes, in_size):
    return "a model"


def other_head(num_classes, in_size):
    return Tiny(num_classes + 1)


def softmax(num_classes, in_size):
    return nn.Sequential(Tiny(num_classes), nn.Softmax(1))
"""
NAMES = ("tiny", "no_module", "other_head", "softmax", "absent")


def install(folder: Path, version: str = "1.0") -> Path:
    """Write `Acme.Nets` with its metadata, as pip does, into `folder`; returns its module."""
    info = folder / f"acme_nets-{version}.dist-info"
    info.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: Acme.Nets\nVersion: {version}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    offered = "".join(f"{name} = acme_nets:{name}\n" for name in NAMES)
    (info / "entry_points.txt").write_text(f"[tmkd_deploy.models]\n{offered}", encoding="utf-8")
    (folder / "acme_nets.py").write_text(MODULE, encoding="utf-8")
    return folder / "acme_nets.py"
