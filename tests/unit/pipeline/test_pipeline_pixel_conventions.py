"""What pixel values an ONNX file expects: found by its accuracy, or asked for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from recorded_events import RecordedEvents

from tmkd_deploy.errors import RequestError

torch = pytest.importorskip("torch")
SIDE = 8


class Threshold(torch.nn.Module):
    """Tells red images from blue ones, if its pixels are as it expects them."""

    def __init__(self, scale: float, red: int, blue: int) -> None:
        super().__init__()
        self.pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        self.head = torch.nn.Linear(3, 2)
        weight = torch.zeros(2, 3)
        # red beyond a third of its range, with half as much blue counted against it
        weight[1, red], weight[1, blue] = 1.0, -0.5
        self.head.weight = torch.nn.Parameter(weight)
        self.head.bias = torch.nn.Parameter(torch.tensor([0.0, -0.3 * scale]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(images))


def converted(module: torch.nn.Module, path: Path) -> Any:
    from tmkd_deploy.models.onnx_import.convert import convert

    example = (torch.rand(2, 3, SIDE, SIDE),)
    axes = {"images": {0: "batch"}}
    torch.onnx.export(
        module.eval(), example, str(path), dynamo=False, input_names=["images"], dynamic_axes=axes
    )
    return convert(path, SIDE, SIDE)


def data(images: int = 200, channels: int = 3) -> Any:
    """Images of one colour, whose class is what `Threshold` tells of pixels in [0, 1]."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (images, 1, 1, channels)) * np.ones((1, SIDE, SIDE, 3))
    red, blue = pixels[:, 0, 0, 0] / 255, pixels[:, 0, 0, 2] / 255
    labels = (red - 0.5 * blue > 0.3).astype(int)
    pixels = pixels.astype(np.uint8)
    return SimpleNamespace(images=lambda split: pixels, labels=lambda split: labels)


@pytest.mark.parametrize(
    ("scale", "order", "name", "bgr"),
    [
        (1.0, (0, 2), "pixels in [0, 1]", False),
        (255.0, (0, 2), "pixels from 0 to 255", False),
        (1.0, (2, 0), "pixels in [0, 1]", True),
    ],
)
def test_the_convention_that_fits_is_found(scale, order, name, bgr, tmp_path) -> None:
    from tmkd_deploy.pipeline.pixel_conventions import best_convention

    events = RecordedEvents()
    found = best_convention(
        converted(Threshold(scale, *order), tmp_path / "net.onnx"), data(), events
    )
    assert (found.name, found.bgr) == (name, bgr) and found.right.mean() > 0.95
    assert any("is right most often with" in str(each) for each in events.told)


def test_grey_images_leave_the_order_of_the_channels_open(tmp_path) -> None:
    from tmkd_deploy.pipeline.pixel_conventions import best_convention

    found = best_convention(
        converted(Threshold(1.0, 0, 2), tmp_path / "net.onnx"),
        data(channels=1),
        RecordedEvents(),
    )
    assert (found.name, found.bgr) == ("pixels in [0, 1]", False)


def test_an_order_of_the_channels_that_is_stated_is_the_only_one_tried(tmp_path) -> None:
    from tmkd_deploy.pipeline.pixel_conventions import best_convention

    net = converted(Threshold(1.0, 0, 2), tmp_path / "net.onnx")
    with pytest.raises(RequestError) as refused:
        best_convention(net, data(), RecordedEvents(), bgr=True)
    assert "red first" not in refused.value.problem
    assert not best_convention(net, data(), RecordedEvents(), bgr=False).bgr


def test_a_convention_that_does_not_lead_is_not_taken(tmp_path) -> None:
    from tmkd_deploy.pipeline.pixel_conventions import best_convention

    with pytest.raises(RequestError, match="is not clear: on 6 validation images") as refused:
        best_convention(
            converted(Threshold(1.0, 0, 2), tmp_path / "net.onnx"), data(6), RecordedEvents()
        )
    assert "--set data.mean=" in str(refused.value.advice)
