"""The attached device decides which profile `jetson` is, and a wrong device is refused."""

import platform

import pytest
from boards import board

from tmkd_deploy.agent.telemetry.identity import board_model
from tmkd_deploy.errors import EnvironmentProblem, RequestError
from tmkd_deploy.targets import catalog, resolve


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("orin-nx", "jetson-orin-nx"),
        ("orin-nano", "jetson-orin-nano"),
        ("xavier", "jetson-agx-xavier"),
        ("thor", "jetson-thor"),
        ("orin-nano-5", "jetson-orin-nano"),
        ("igx-orin", "jetson-agx-orin"),
    ],
)
def test_jetson_is_the_attached_one(name, found) -> None:
    info = board(name)
    picked, sentence = resolve.resolve_profile("jetson", info)
    assert picked == found
    assert info["model"] in sentence and found in sentence
    assert resolve.resolve_profile(found, info) == (found, "")
    assert resolve.profile_of(info) == found


def test_without_a_device_the_default_is_named() -> None:
    name, sentence = resolve.resolve_profile("jetson", None)
    assert name == "jetson-orin-nano"
    assert "No device is attached" in sentence and "JetPack 6.2" in sentence
    assert "JetPack 5.1" in resolve.resolve_profile("jetson-xavier-nx", None)[1]
    assert resolve.resolve_profile("cpu", None) == ("cpu", "")


def test_a_carrier_board_of_its_own_name_is_known_by_its_gpu() -> None:
    info = board("orin-nx", model="Forecr DSBOARD-ORNX")
    name, sentence = resolve.resolve_profile("jetson", info)
    assert name == "jetson-orin-nano"
    assert "Forecr DSBOARD-ORNX" in sentence and "smallest" in sentence
    assert resolve.resolve_profile("jetson-orin-nx", info) == ("jetson-orin-nx", "")


@pytest.mark.parametrize(
    ("compatible", "found"),
    [
        # https://github.com/NVIDIA/jetson-gpio/issues/125
        (
            ["nvidia,p3737-0000+p3701-0005", "nvidia,p3701-0005", "nvidia,tegra234"],
            "jetson-agx-orin",
        ),
        # https://github.com/rbonghi/jetson_stats/issues/711, but with the carrier's own name
        (board("thor")["compatible"], "jetson-thor"),
        # https://github.com/anduril/jetpack-nixos/pull/488 for the ending
        (["nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005"], "jetson-orin-nano"),
        # https://github.com/anduril/jetpack-nixos/pull/366: a module on another one's carrier
        (["nvidia,p3509-0000+p3767-0000", "nvidia,p3767-0000"], "jetson-orin-nx"),
    ],
)
def test_a_carrier_board_of_its_own_name_is_known_by_its_module(compatible, found) -> None:
    gpu = {"name": None, "sm": catalog.get(found).compute_capability[2:]}
    info = board("orin-nx", model="Forecr DSBOARD-ORNX", compatible=compatible, gpu=gpu)
    assert resolve.profile_of(info) == found
    assert resolve.resolve_profile("jetson", info)[0] == found
    assert resolve.resolve_profile(found, info) == (found, "")
    with pytest.raises(RequestError, match="its model is Forecr"):
        resolve.resolve_profile("jetson-xavier-nx", info)


def test_a_jetson_that_nothing_names_is_checked_for_its_gpu_and_not_as_a_processor() -> None:
    info = board("orin-nx", model="Forecr DSBOARD-ORNX")
    assert resolve.profile_of(info) == "jetson-orin-nano"
    assert resolve.profile_of({**info, "l4t": None}) == "cpu-arm64"
    assert resolve.profile_of({**info, "gpu": None}) == "jetson-orin-nano"
    maxwell = {"name": "GM20B", "sm": "53", "uuid": None, "memory_mb": None}
    assert resolve.profile_of({**info, "gpu": maxwell}) == "cpu-arm64"


@pytest.mark.parametrize("changes", [{}, {"model": None}])
def test_a_device_that_is_no_jetson_is_refused_as_one(changes) -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        resolve.resolve_profile("jetson", board("raspberry", **changes))
    assert "'jetson'" in caught.value.problem


@pytest.mark.parametrize(
    ("target", "name", "reason"),
    [
        ("jetson-orin-nano", "orin-nx", "its model is NVIDIA Jetson Orin NX"),
        ("raspberry-pi-5", "orin-nx", "its model is NVIDIA"),
        ("cpu-x86", "raspberry", "it is aarch64, not x86_64"),
        ("rtx-ada", "orin-nx", "its GPU is SM87, not SM89"),
    ],
)
def test_another_device_is_refused(target, name, reason) -> None:
    with pytest.raises(RequestError) as caught:
        resolve.resolve_profile(target, board(name))
    assert reason in caught.value.problem
    assert repr(resolve.profile_of(board(name))) in caught.value.advice


def test_a_processor_target_takes_any_board_of_its_architecture() -> None:
    for name in ("cpu", "cpu-arm64"):
        assert resolve.resolve_profile(name, board("orin-nx")) == (name, "")
    assert resolve.profile_of(board("raspberry", model=None)) == "cpu-arm64"
    assert resolve.profile_of(board("raspberry", model=None, machine="riscv64")) is None


def test_an_unknown_target_is_refused_with_and_without_a_device() -> None:
    for info in (None, board("orin-nx")):
        with pytest.raises(RequestError) as caught:
            resolve.resolve_profile("jetsn", info)
        assert "jetson" in caught.value.advice


def test_a_custom_board_is_identified_by_its_device_tree(monkeypatch, tmp_path) -> None:
    own = catalog.get("jetson-orin-nx").model_dump_json()
    own = own.replace('"jetson-orin-nx"', '"line-camera"').replace('Jetson Orin NX"]', 'Forecr"]')
    (tmp_path / "line-camera.yaml").write_text(own)  # JSON is YAML
    monkeypatch.setenv("TMKD_DEPLOY_TARGETS", str(tmp_path))
    assert (
        resolve.resolve_profile("jetson", board("orin-nx", model="Forecr DSB"))[0] == "line-camera"
    )


def test_another_machines_processor_is_not_measured_here() -> None:
    own = "cpu-x86" if catalog.get("cpu-x86").is_machine(platform.machine()) else "cpu-arm64"
    for name in ("cpu", own, "jetson-thor", "rtx-ada"):
        resolve.require_this_machine(catalog.get(name))
    others = [name for name in ("cpu-x86", "cpu-arm64") if name != own]
    for name in others if board_model() else [*others, "raspberry-pi-5"]:
        with pytest.raises(RequestError) as caught:
            resolve.require_this_machine(catalog.get(name))
        assert name in caught.value.problem and "--device" in caught.value.advice
