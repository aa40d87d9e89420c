"""The kit that a Jetson builds its engine from."""

import json
import shutil
import stat
import subprocess

import pytest

from tmkd_deploy.engines.build import build
from tmkd_deploy.engines.interface import variant_for
from tmkd_deploy.engines.tensorrt_kit import TRTEXEC, TensorRTKit, build_command
from tmkd_deploy.errors import EnvironmentProblem
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.targets.profile import get

JETSON = get("jetson")


@pytest.fixture(scope="module")
def kit(exported_digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kit")
    builder = TensorRTKit()
    models = {name: exported_digits(variant_for(builder, name))[0] for name in ("int8", "fp16")}
    return build(JETSON, models, 32, folder, SilentEvents()), folder


def test_the_command_is_strongly_typed_and_fixes_the_shape():
    command = build_command("int8", 224)
    assert command[0] == TRTEXEC
    assert "--onnx=int8.onnx" in command and "--saveEngine=int8.engine" in command
    assert "--stronglyTyped" in command
    for bound in ("min", "opt", "max"):
        assert f"--{bound}Shapes=images:1x224x224x3" in command
    assert not any(flag in command for flag in ("--int8", "--fp16", "--best"))


def test_the_kit_is_whole_and_says_what_to_do(kit):
    facts, folder = kit
    expected = [f"build-{name}.sh" for name in ("fp16", "int8")]
    expected += [f"{name}{end}" for name in ("fp16", "int8") for end in (".onnx", ".profile.json")]
    assert facts.kit == sorted(expected) == sorted(path.name for path in folder.iterdir())
    assert "build-int8.sh" in facts.notes[0]
    assert {file.int8_layers for file in facts.engines} == {None}
    profile = json.loads((folder / "int8.profile.json").read_text())
    assert profile["target"] == "jetson-orin-nano"
    assert profile["input"] == {"name": "images", "dtype": "uint8", "shape": [1, 32, 32, 3]}
    assert profile["command"] == build_command("int8", 32)


@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no sh here")
def test_the_script_is_sound_and_runs_the_command_in_its_own_folder(kit, tmp_path):
    script = kit[1] / "build-int8.sh"
    assert script.stat().st_mode & stat.S_IXUSR
    subprocess.run(["sh", "-n", str(script)], check=True)
    # a stand-in for the device's builder, which is on no other machine, writes down its arguments
    copied = tmp_path / "kit with spaces"
    shutil.copytree(kit[1], copied)
    builder = tmp_path / "trtexec"
    builder.write_text('#!/bin/sh\npwd > asked\nprintf "%s\\n" "$@" >> asked\n')
    builder.chmod(0o755)
    moved = copied / script.name
    moved.write_text(moved.read_text().replace(TRTEXEC, str(builder)))
    subprocess.run(["sh", str(moved)], check=True, cwd="/")
    asked = (copied / "asked").read_text().splitlines()
    assert asked == [str(copied), *build_command("int8", 32)[1:]]


def test_a_kit_is_no_engine(kit):
    with pytest.raises(EnvironmentProblem, match="built on the device first"):
        TensorRTKit().open(kit[1] / "int8.onnx", 1)
