"""A target with `dla_core` gets the ONNX files that its DLA is built from."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from boards import board
from recorded_events import RecordedEvents

from tmkd_deploy.pipeline.resolve_targets import resolve_target
from tmkd_deploy.pipeline.stages.bundle import _elsewhere
from tmkd_deploy.recipe.schema import Recipe, Target
from tmkd_deploy.records.measurements import EngineFile, TiedTo

FLAGS, STRONG = "student-int8-signed-fp32-opset17", "student-int8-signed-fp16"


def resolved(device: str | None, **changes: Any) -> Any:
    target = Target(target="jetson-agx-orin", device=device, **changes)
    recipe = Recipe.model_validate(
        {
            "name": "cells",
            "data": {"source": "folder", "path": "images"},
            "targets": [target.model_dump()],
        }
    )
    info = board("igx-orin", model="NVIDIA Jetson AGX Orin Developer Kit", tensorrt="10.3.0")
    devices = SimpleNamespace(info=lambda address: info, identity=lambda address: {})
    context: Any = SimpleNamespace(
        only=False, recipe=recipe, devices=devices, events=RecordedEvents()
    )
    return resolve_target(target, context)


@pytest.mark.parametrize(("core", "file"), [(None, STRONG), (0, FLAGS)])
def test_an_attached_device_gets_scales_apart_for_its_dla_only(core: int | None, file: str) -> None:
    target = resolved("ssh://orin", dla_core=core)
    assert target.variants["int8"].name == file
    assert target.variants["fp16"].name == "student-fp16"
    assert target.older_variants == {}


def test_a_kit_for_a_dla_has_one_int8_file_for_every_release_before_11() -> None:
    target = resolved(None, dla_core=1)
    assert target.variants["int8"].name == FLAGS and "int8" not in target.older_variants
    assert target.older_variants["fp16"].name == "student-fp32-opset17"
    assert resolved(None).older_variants["int8"].name == FLAGS


@pytest.mark.parametrize(("dla_core", "rebuilt"), [(None, True), (0, False)])
def test_a_bundle_does_not_offer_to_build_for_a_dla(
    tmp_path: Path, dla_core: int | None, rebuilt: bool
) -> None:
    """The exported file is not the one that a DLA's engine is built from."""
    tied_to = TiedTo(
        release="10.3.0",
        compute_capability=87,
        typing="strong",
        workspace_mb=None,
        dla_core=dla_core,
    )
    engine = EngineFile(
        precision="int8",
        file="int8.engine",
        bytes=1,
        sha256="0" * 64,
        int8_layers=None,
        total_layers=None,
        tied_to=tied_to,
    )
    model = SimpleNamespace(path=lambda name: tmp_path / name)
    told = _elsewhere(engine, model)
    assert told["made_for"].dla_core == dla_core
    assert ("build" in told) == rebuilt
