"""The recipe that is composed for an ONNX file: what it states, and what the user is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from recorded_events import RecordedEvents

from tmkd_deploy.recipe.load import load

torch = pytest.importorskip("torch")
HALF = ("data.mean=[0.5,0.5,0.5]", "data.std=[0.5,0.5,0.5]")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for kind in ("bolt", "nut"):
        (tmp_path / "images" / kind).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / kind / f"{number}.png")
    return tmp_path / "images"


def exported(path: Path, *, any_size: bool) -> Path:
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 2),
    )
    axes = {0: "batch", **({2: "height", 3: "width"} if any_size else {})}
    torch.onnx.export(
        net.eval(),
        (torch.rand(2, 3, 24, 24),),
        str(path),
        dynamo=False,
        input_names=["images"],
        dynamic_axes={"images": axes},
    )
    return path


@pytest.mark.parametrize(
    ("any_size", "overrides", "size", "warned"),
    [
        (False, (), [24, 24], False),
        (True, (), [224, 224], True),
        (True, ("data.image_size=32",), 32, False),
    ],
)
def test_a_size_that_nobody_stated_is_told(
    any_size, overrides, size, warned, images, tmp_path
) -> None:
    from tmkd_deploy.pipeline.onnx_recipe import recipe_for

    events = RecordedEvents()
    file = exported(tmp_path / "net.onnx", any_size=any_size)
    path = recipe_for(file, images, tmp_path / "runs", "cpu", (*HALF, *overrides), events)
    assert load(path).data.image_size == size
    assert any("images of any size" in each for each in events.warnings) == warned
    assert ("set what it was trained on" in path.read_text()) == any_size
    assert "# as stated" in path.read_text()


def test_the_order_of_the_channels_alone_leaves_the_values_to_be_tried(images, tmp_path) -> None:
    from tmkd_deploy.errors import RequestError
    from tmkd_deploy.pipeline.onnx_recipe import recipe_for

    stated = ("student.model_kwargs.channel_order=rgb",)
    with pytest.raises(RequestError, match="is not clear"):  # it has learnt nothing
        recipe_for(
            exported(tmp_path / "net.onnx", any_size=False),
            images,
            tmp_path / "runs",
            "cpu",
            stated,
            RecordedEvents(),
        )
