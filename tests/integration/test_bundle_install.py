"""`bundle install`: engines are built by the agent, checked, kept, and found by applications.

There is no GPU and no TensorRT here: stand-ins build and run the engines (tests/support), in
agents behind a real OpenSSH server and on this machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gpu_stand_ins
import numpy as np
import pytest
from sshd import SshDevice, needs_sshd, ssh_device

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import hostile_engines
from colour_bundle import COLOURS, SIDE, colour_model, measurements, packed, solid

from tmkd_deploy.cli.main import main
from tmkd_deploy.devices.address import LocalAddress
from tmkd_deploy.devices.device import Device
from tmkd_deploy.devices.ssh_route import CONFIGURATION
from tmkd_deploy.engines.device_build import build_on_device
from tmkd_deploy.errors import ExitCode
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.records.measurements import TiedTo
from tmkd_deploy.runtime import BuildRecipe, MadeFor, load
from tmkd_deploy.runtime.cuda_runtime import LIBRARY_VARIABLE
from tmkd_deploy.runtime.installed_engines import FOLDER_VARIABLE
from tmkd_deploy.targets import catalog

SUPPORT = Path(gpu_stand_ins.__file__).parent
MODEL = colour_model().replace(b"pixels", b"images")  # as models are exported


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gpu_stand_ins.compiled(tmp_path_factory.mktemp("cuda"))


def made(
    folder: Path, model: bytes = MODEL, plan: bytes = b"a plan for another GPU", **changes: Any
) -> Path:
    """A bundle whose TensorRT engine is for another machine than the stand-ins are."""
    onnx = folder / "source.onnx"
    onnx.write_bytes(model)
    return packed(
        folder / "bundle",
        model=plan,
        runtime="tensorrt",
        precision="int8",
        measurements=measurements(measured=False).model_copy(update={"target": "jetson"}),
        build=BuildRecipe("model-0.onnx", "int8", "strong", 64, None),
        onnx=onnx,
        **{"made_for": MadeFor("8.5.2", 72, None), **changes},
    )[0]


@pytest.fixture
def device(tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshDevice]:
    with ssh_device(tmp_path / "device") as server:
        monkeypatch.setenv(CONFIGURATION, str(server.config))
        server.give_python(
            f'export PYTHONPATH="$PYTHONPATH:{SUPPORT}:{SUPPORT / "stand_in_tensorrt"}" '
            f'{LIBRARY_VARIABLE}="{library}"\n{server.python} "$@"'
        )
        yield server


def installed(device: SshDevice) -> list[Path]:
    return sorted((device.home / ".cache/tmkd-deploy/engines").glob("*"))


def use(folder: Path, tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for engines in `folder`, and run them here as on the device."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    monkeypatch.setenv(LIBRARY_VARIABLE, str(library))
    gpu_stand_ins.tensorrt_module(monkeypatch)


@needs_sshd
def test_an_engine_is_built_checked_kept_and_found(
    device: SshDevice,
    tmp_path: Path,
    library: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = made(tmp_path)
    command = ["bundle", "install", str(path), "--device", device.address]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "INT8 with TensorRT for jetson: built; its results are those recorded" in told
    assert f"tmkd-deploy bundle run {path} IMAGE" in told
    record, plan = installed(device)
    assert str(plan) in told
    assert plan.read_bytes() == MODEL  # what the stand-in "builds"
    assert {file.stat().st_mode & 0o777 for file in (plan, record)} == {0o600}
    assert plan.parent.stat().st_mode & 0o777 == 0o700
    assert json.loads(record.read_text())["bundle"] == "colours"

    before = plan.stat().st_ino
    assert main([*command, "--json"]) == 0
    (engine,) = json.loads(capsys.readouterr().out)["engines"]
    assert engine["reused"] and engine["runs"] and engine["path"] == str(plan)
    assert plan.stat().st_ino == before

    use(plan.parent, tmp_path, library, monkeypatch)
    model = load(path)
    assert model.engine_source == "installed"
    assert [model.predict(solid(colour)).label for colour in COLOURS] == COLOURS


@needs_sshd
@pytest.mark.parametrize("runs_as_it_is", [True, False])
def test_what_need_not_or_cannot_be_built(
    device: SshDevice,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    runs_as_it_is: bool,
) -> None:
    made_for = MadeFor("10.3.0", 87, None)
    if not runs_as_it_is:
        device.give_python(f'{device.python} "$@"')  # no TensorRT
    path = made(tmp_path, made_for=made_for, plan=MODEL) if runs_as_it_is else made(tmp_path)
    code = main(["bundle", "install", str(path), "--device", device.address])
    told = capsys.readouterr()
    assert installed(device) == []
    if runs_as_it_is:
        assert code == 0 and "runs as it is" in told.out
    else:
        assert code == ExitCode.ENVIRONMENT
        assert "has no tensorrt" in told.err and "tmkd-deploy doctor --device" in told.err


@pytest.fixture
def here(tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine as the device; where it keeps its engines."""
    places = [str(SUPPORT), str(SUPPORT / "stand_in_tensorrt"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))
    monkeypatch.setenv("TMKD_DEPLOY_AGENT_HOME", str(tmp_path / "agent"))
    monkeypatch.setenv("TMKD_DEPLOY_LOCK_NAME", f"tmkd-deploy-tests-{os.getpid()}")
    use(tmp_path / "engines", tmp_path, library, monkeypatch)
    return tmp_path / "engines"


def test_on_the_device_itself(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made(tmp_path)
    assert main(["bundle", "install", str(path)]) == 0
    assert len(list(here.iterdir())) == 2
    assert load(path).engine_source == "installed"
    assert capsys.readouterr().out.splitlines()[-1].startswith("tmkd-deploy bundle run")


def test_a_device_says_what_its_engines_are_tied_to(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    smi = programs / "nvidia-smi"  # a stand-in, as of a Jetson
    smi.write_text("#!/bin/sh\necho 'Orin (nvgpu), 8.7, GPU-1, 7620, 540.4.0'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "model.onnx").write_bytes(MODEL)
    profile = catalog.get("jetson-orin-nano")
    with Device(LocalAddress(), SilentEvents()) as device:
        device.lock()
        models = {"int8": tmp_path / "model.onnx"}
        built = build_on_device(device, profile, models, SIDE, None, tmp_path, SilentEvents())
    assert built.engines[0].tied_to == TiedTo(
        release="10.3.0.30",
        compute_capability=87,
        typing="strong",
        workspace_mb=profile.workspace_mb,
        dla_core=None,
    )


def test_a_plan_for_this_device_that_it_rejects_is_built_again(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made(tmp_path, plan=b"stale", made_for=MadeFor("10.3.0", 87, None))
    assert main(["bundle", "install", str(path)]) == 0
    assert "built; its results are those recorded" in capsys.readouterr().out
    assert load(path).engine_source == "installed"


def test_an_engine_with_other_results_is_not_kept(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swapped = colour_model(np.eye(3, dtype=np.float32)[[1, 0, 2]] / 16)
    path = made(tmp_path, swapped.replace(b"pixels", b"images"))
    assert main(["bundle", "install", str(path)]) == ExitCode.DATA
    assert "computes different results on this machine" in capsys.readouterr().err
    assert not here.exists()


def test_a_model_that_is_not_safe_is_not_built(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", "install", str(made(tmp_path, hostile_engines.loop()))]) == ExitCode.DATA
    assert "the operator 'Loop', which may never end" in capsys.readouterr().err
    assert not here.exists()


def test_a_model_for_a_newer_release_says_so(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    older = tmp_path / "older"
    older.mkdir()
    (older / "tensorrt.py").write_text(
        "from gpu_stand_ins import Engine\n__version__ = '8.5.2.2'\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{older}{os.pathsep}{os.environ['PYTHONPATH']}")
    assert main(["bundle", "install", str(made(tmp_path))]) == ExitCode.ENVIRONMENT
    assert "needs TensorRT 10 or newer, and the device has 8.5.2.2" in capsys.readouterr().err


def test_a_bundle_without_a_recipe_has_nothing_to_build(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = packed(tmp_path / "plain")[0]
    assert main(["bundle", "install", str(path)]) == ExitCode.REQUEST
    assert "no engine to build" in capsys.readouterr().err


def test_bundles_are_joined_by_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = tmp_path / "both.tmkd"
    plain = packed(tmp_path / "plain")[0]
    assert main(["bundle", "merge", str(made(tmp_path)), str(plain), "-o", str(both)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"Wrote {both}. The first of these that runs is used:",
        "  INT8 with TensorRT for jetson",
        "  FP32 with ONNX Runtime for cpu",
        f"Next: tmkd-deploy bundle verify {both}",
    ]
    assert main(["bundle", "show", str(both)]) == 0
    told = capsys.readouterr().out
    assert "release 8.5.2, compute capability 72; others build it" in told
    assert main(["bundle", "run", str(both), str(tmp_path / "absent.png")]) == ExitCode.DATA
    assert "Engine: FP32 with ONNX Runtime for cpu." in capsys.readouterr().err
    assert main(["bundle", "merge", str(plain), str(plain), "-o", str(both)]) == ExitCode.REQUEST
