"""ResNet-20 and ResNet-56 for 32 x 32 pixels (He et al. 2015, arXiv 1512.03385, section 4.2).

Registered with timm as `cifar_resnet20` and `cifar_resnet56`. Where a stage halves the resolution,
the shortcut is a 1 x 1 convolution with batch norm (the paper's option B), as in most published
distillation results. Parameter names follow the common public checkpoints.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
            if stride != 1 or inputs != outputs
            else nn.Identity()
        )
        self.relu2 = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        inner = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(maps)))))
        output: Tensor = self.relu2(inner + self.downsample(maps))
        return output


class CifarResNet(nn.Module):
    """Three stages of `blocks` blocks each: 6 * blocks + 2 weighted layers in total."""

    def __init__(self, blocks: int, num_classes: int = 100, in_chans: int = 3) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = WIDTHS[-1]
        self.conv1 = nn.Conv2d(in_chans, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU()
        self.layer1 = _stage(blocks, WIDTHS[0], WIDTHS[0], 1)
        self.layer2 = _stage(blocks, WIDTHS[0], WIDTHS[1], 2)
        self.layer3 = _stage(blocks, WIDTHS[1], WIDTHS[2], 2)
        self.fc = nn.Linear(WIDTHS[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def get_classifier(self) -> nn.Module:
        """The classification layer."""
        return self.fc

    def forward_features(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, 64, H / 4, W / 4]."""
        maps: Tensor = self.relu(self.bn1(self.conv1(images)))
        return self.layer3(self.layer2(self.layer1(maps)))  # type: ignore[no-any-return]

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """Feature maps to logits [N, C], or to the features [N, 64] with `pre_logits`."""
        features = torch.flatten(F.adaptive_avg_pool2d(maps, 1), 1)
        return features if pre_logits else self.fc(features)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] to logits [N, C]."""
        return self.forward_head(self.forward_features(images))


def _stage(blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))


_CIFAR100 = {
    "num_classes": 100,
    "input_size": (3, 32, 32),
    "mean": (0.5070, 0.4865, 0.4409),
    "std": (0.2673, 0.2564, 0.2761),
    "first_conv": "conv1",
    "classifier": "fc",
}
default_cfgs = generate_default_cfgs({"cifar_resnet20": _CIFAR100, "cifar_resnet56": _CIFAR100})


def _build(name: str, blocks: int, pretrained: bool, arguments: dict[str, Any]) -> CifarResNet:
    model: CifarResNet = build_model_with_cfg(
        CifarResNet, name, pretrained, blocks=blocks, **arguments
    )
    return model


@register_model  # type: ignore[untyped-decorator]
def cifar_resnet20(pretrained: bool = False, **arguments: Any) -> CifarResNet:
    """ResNet-20: 0.28 million parameters with 100 classes."""
    return _build("cifar_resnet20", 3, pretrained, arguments)


@register_model  # type: ignore[untyped-decorator]
def cifar_resnet56(pretrained: bool = False, **arguments: Any) -> CifarResNet:
    """ResNet-56: 0.86 million parameters with 100 classes."""
    return _build("cifar_resnet56", 9, pretrained, arguments)
