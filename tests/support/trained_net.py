"""A small classifier that somebody trained elsewhere, on the striped images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torch import nn

RESNET = {"channels": [8, 8, 16, 16], "stem_width": 8}


def striped(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [N, 3, H, W] in [0, 1] and labels [N] of a folder of class folders."""
    pixels, labels = [], []
    for label, kind in enumerate(sorted(each for each in folder.iterdir() if each.is_dir())):
        for path in sorted(kind.glob("*.png")):
            pixels.append(np.asarray(Image.open(path), dtype=np.float32) / 255)
            labels.append(label)
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2), torch.tensor(labels)


def trained(module: nn.Module, folder: Path, mean: float = 0.5, std: float = 0.5) -> nn.Module:
    """`module` after some training on pixels that `mean` and `std` normalise."""
    torch.manual_seed(0)
    images, labels = striped(folder)
    images = (images - mean) / std
    optimizer = torch.optim.AdamW(module.parameters(), 4e-3)
    for _ in range(12):
        for rows in torch.randperm(len(labels)).split(24):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(module.train()(images[rows]), labels[rows]))
            optimizer.step()
    return module.eval()


def small_resnet() -> nn.Module:
    """timm's ResNet of a few channels; the recipe's `model_kwargs` are `RESNET`."""
    torch.manual_seed(0)
    return timm.create_model("resnet10t", num_classes=3, **RESNET)


def small_shufflenet() -> nn.Module:
    """torchvision's ShuffleNet with fewer and narrower blocks."""
    torch.manual_seed(0)
    return torchvision.models.ShuffleNetV2([2, 2, 1], [8, 16, 32, 64, 64], num_classes=3)
