"""Which runtimes race on a target: those that its recipe names, if the machine has them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tmkd_deploy.errors import EnvironmentProblem, MissingExtra, RequestError
from tmkd_deploy.recipe.schema import Target
from tmkd_deploy.targets import catalog
from tmkd_deploy.targets.racing import Race, installed_on, precisions_of, race
from tmkd_deploy.targets.target_profile import TargetProfile

CPU = catalog.get("cpu")
BOTH = {"onnxruntime": "1.20.0", "openvino": "2024.3.0"}
ONE = {"onnxruntime": "1.20.0", "openvino": None}


@pytest.mark.parametrize("name", ["cpu", "cpu-openvino", "rtx-ada", "jetson-orin-nano"])
def test_a_target_has_its_own_runtime_alone_unless_others_are_named(name: str) -> None:
    profile = catalog.get(name)
    assert race(profile, None, BOTH) == Race((profile.runtime,))


def test_the_targets_own_runtime_comes_first_unless_it_is_not_named() -> None:
    assert race(CPU, ["openvino", "onnxruntime"], BOTH).own == "onnxruntime"
    assert race(CPU, ["openvino"], BOTH) == Race(("openvino",))


def test_a_named_runtime_that_is_missing_is_an_error_with_the_line_that_installs_it() -> None:
    with pytest.raises(MissingExtra, match="openvino") as here:
        race(CPU, ["onnxruntime", "openvino"], ONE)
    assert "pip install 'tmkd-deploy[openvino]'" in here.value.advice
    with pytest.raises(EnvironmentProblem, match="the device lacks") as there:
        race(CPU, ["openvino"], ONE, "pip3 install")
    assert there.value.advice == "On the device, run: pip3 install openvino"


def test_a_runtime_that_cannot_run_the_engines_is_refused() -> None:
    with pytest.raises(RequestError, match="no engines of tensorrt"):
        race(CPU, ["tensorrt"], BOTH)


@pytest.mark.parametrize("bf16", [True, False, None])
def test_bf16_is_openvinos_on_processors_that_compute_in_it(bf16: bool | None) -> None:
    both = precisions_of(CPU, ["onnxruntime", "openvino"], bf16)
    assert both == (["int8", "bf16", "fp32"] if bf16 else ["int8", "fp32"])
    assert precisions_of(CPU, ["onnxruntime"], bf16) == ["int8", "fp32"]
    assert precisions_of(catalog.get("rtx-ada"), ["tensorrt_rtx"], bf16) == ["int8", "fp16", "fp32"]


def test_every_precision_of_a_profile_is_one_of_its_runtimes() -> None:
    for profile in map(catalog.get, catalog.names()):
        runtimes = [profile.runtime, *profile.other_runtimes]
        assert precisions_of(profile, runtimes, True) == profile.precisions


def test_a_device_is_asked_only_for_the_runtimes_of_its_target() -> None:
    info = {**ONE, "tensorrt": "10.3.0"}
    assert installed_on(info, CPU) == ONE


@pytest.mark.parametrize("runtimes", [[], ["onnxruntime", "onnxruntime"], ["onnx"]])
def test_no_recipe_names_none_or_one_twice(runtimes: list[str]) -> None:
    with pytest.raises(ValidationError):
        Target.model_validate({"target": "cpu", "runtimes": runtimes})


@pytest.mark.parametrize("other", ["tensorrt", "onnxruntime"])
def test_a_profile_offers_only_runtimes_that_build_where_its_own_does(other: str) -> None:
    with pytest.raises(ValidationError):
        TargetProfile.model_validate({**CPU.model_dump(), "other_runtimes": [other]})
