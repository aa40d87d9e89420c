"""Profiles are complete and strict, and name the sources of their figures."""

import pytest
from pydantic import ValidationError

from tmkd_deploy.errors import RequestError
from tmkd_deploy.targets import catalog
from tmkd_deploy.targets.target_profile import TargetProfile

FIGURES = (
    "modules",
    *("compute_capability", "precisions", "opset_ceiling", "memory_mb", "workspace_mb"),
    *("dla_cores", "power_modes"),
)


@pytest.mark.parametrize("name", catalog.names())
def test_every_profile_is_sound(name) -> None:
    target = catalog.get(name)
    assert target.name == name
    assert target.precisions[-1] != "int8", "an engine that always works comes last"
    assert len(set(target.precisions)) == len(target.precisions)
    given = {figure for figure in FIGURES if getattr(target, figure)}
    assert given <= set(target.sources) <= set(FIGURES), "each figure has a source"


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("rtx-ampere", "SM86"),
        ("rtx-ada", "SM89"),
        ("rtx-blackwell", "SM120"),
        ("jetson-agx-orin", "SM87"),
        ("jetson-thor", "SM110"),
        ("cpu", None),
        ("cpu-openvino", None),
    ],
)
def test_compute_capabilities(name, capability) -> None:
    assert catalog.get(name).compute_capability == capability


@pytest.mark.parametrize("name", catalog.names())
def test_the_place_of_building_follows_from_the_runtime(name) -> None:
    target = catalog.get(name)
    places = {
        "onnxruntime": "here",
        "openvino": "here",
        "tensorrt_rtx": "ahead_of_time",
        "tensorrt": "on_device",
    }
    assert target.build == places[target.runtime]


def test_jetson_is_the_smallest_orin() -> None:
    assert catalog.get("jetson") == catalog.get("jetson-orin-nano")
    assert catalog.aliases() == {"jetson": "jetson-orin-nano"}


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(RequestError) as caught:
        catalog.get("rtx-adda")
    assert '"rtx-ada"' in caught.value.advice


@pytest.mark.parametrize("name", ["../cpu", "cpu.yaml", "", "/etc/passwd"])
def test_a_name_is_no_path(name) -> None:
    with pytest.raises(RequestError):
        catalog.get(name)


def test_a_profile_takes_no_key_it_does_not_know() -> None:
    content = catalog.get("cpu").model_dump() | {"speed": 3}
    with pytest.raises(ValidationError):
        TargetProfile.model_validate(content)
