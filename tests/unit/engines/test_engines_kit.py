"""The kit that a Jetson builds its engine from."""

import json
import shutil
import stat
import subprocess

import onnx
import pytest

from tmkd_deploy.engines.build import build
from tmkd_deploy.engines.model_file import opset_of
from tmkd_deploy.engines.tensorrt_kit import TRTEXEC, TensorRTKit, build_command
from tmkd_deploy.engines.tensorrt_typing import typing_of
from tmkd_deploy.engines.variants import variants_for
from tmkd_deploy.errors import EnvironmentProblem
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.targets.catalog import get

# JetPack 5 and 6.0 carry TensorRT 8 there, later ones 10
ORIN = get("jetson-orin-nano")
XAVIER = get("jetson-xavier-nx")
THOR = get("jetson-thor")

# first lines of trtexec as recorded on devices and workstations
BANNERS = {
    "8.5": "&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --help",
    "8.6": "&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec --help",
    "10": "&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # /usr/src/tensorrt/bin/trtexec --help",
    "10.16": "&&&& RUNNING TensorRT.trtexec [TensorRT v101602] [b10] # trtexec --help",
    "11": "&&&& RUNNING TensorRT.trtexec [TensorRT v110100] [b106] # trtexec --help",
}
TOO_OLD = "&&&& RUNNING TensorRT.trtexec [TensorRT v8412] # trtexec --help"

needs_sh = pytest.mark.skipif(shutil.which("sh") is None, reason="there is no sh here")


@pytest.fixture(scope="module")
def kit(exported_digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kit with spaces")
    files = {name: variants_for(ORIN, name) for name in ("int8", "fp16")}
    main, older = (
        {name: exported_digits(found[place])[0] for name, found in files.items()}
        for place in (0, 1)
    )
    return build(ORIN, main, 32, folder, SilentEvents(), older), folder


def run_script(script, tmp_path, banner):
    """Run it with a stand-in for the device's builder, which writes down its arguments."""
    builder = tmp_path / "trtexec"
    builder.write_text(
        "#!/bin/sh\n"
        f"echo '{banner}'\n"
        "i=0; while [ $i -lt 2000 ]; do echo 'a line of help'; i=$((i + 1)); done\n"
        f'[ "$1" = --help ] || {{ pwd; printf "%s\\n" "$@"; }} > "{tmp_path}/asked"\n'
    )
    builder.chmod(0o755)
    environment = {"TRTEXEC": str(builder), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        ["sh", str(script)], env=environment, cwd="/", capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("release", "precision", "model", "flags"),
    [
        ("8.5", "int8", "int8-opset17.onnx", {"--int8", "--fp16", "--buildOnly"}),
        ("8.6", "int8", "int8-opset17.onnx", {"--int8", "--fp16", "--skipInference"}),
        ("8.6", "fp16", "fp16-opset17.onnx", {"--fp16", "--skipInference"}),
        ("8.6", "fp32", "fp32-opset17.onnx", {"--skipInference", "--noTF32"}),
        ("10", "int8", "int8.onnx", {"--stronglyTyped", "--skipInference"}),
        ("10", "fp16", "fp16.onnx", {"--stronglyTyped", "--skipInference"}),
        ("11", "int8", "int8.onnx", {"--skipInference"}),
    ],
)
def test_each_release_gets_its_file_and_its_flags(release, precision, model, flags):
    command = build_command(release, precision, 224, 512)
    assert command[0] == TRTEXEC
    assert {f"--onnx={model}", f"--saveEngine={precision}.engine"} < set(command)
    for bound in ("min", "opt", "max"):
        assert f"--{bound}Shapes=images:1x224x224x3" in command
    assert "--memPoolSize=workspace:512" in command
    types = {
        "--int8",
        "--fp16",
        "--best",
        "--stronglyTyped",
        "--buildOnly",
        "--skipInference",
        "--noTF32",
    }
    assert types & set(command) == flags


def test_files_are_chosen_by_the_releases_that_a_target_may_carry():
    names = {
        profile.name: [variant.name for variant in variants_for(profile, "int8")]
        for profile in (ORIN, XAVIER, THOR, get("rtx-ada"), get("cpu"))
    }
    older, newer = "student-int8-signed-fp32-opset17", "student-int8-signed-fp16"
    assert names == {
        "jetson-orin-nano": [newer, older],
        "jetson-xavier-nx": [older],
        "jetson-thor": [newer],
        "rtx-ada": [newer],
        "cpu": ["student-int8-unsigned-fp32"],
    }
    # without types of its own, TensorRT 8 takes the FP32 file for FP16
    assert {variants_for(XAVIER, name)[0].name for name in ("fp16", "fp32")} == {
        "student-fp32-opset17"
    }


def test_no_file_is_newer_than_the_target_reads(kit):
    for file in kit[1].glob("*.onnx"):
        ceiling = 17 if "opset17" in file.name else ORIN.opset_ceiling
        assert opset_of(onnx.load(file)) <= ceiling


def test_the_kit_is_whole_and_says_what_to_do(kit):
    record, folder = kit
    ends = (".onnx", "-opset17.onnx", ".profile.json")
    expected = [f"{name}{end}" for name in ("fp16", "int8") for end in ends]
    expected += [f"build-{name}.sh" for name in ("fp16", "int8")]
    assert record.kit == sorted(expected) == sorted(path.name for path in folder.iterdir())
    assert "build-int8.sh" in record.notes[0]
    assert [file.file for file in record.engines] == ["int8.onnx", "fp16.onnx"]
    assert {file.int8_layers for file in record.engines} == {None}
    profile = json.loads((folder / "int8.profile.json").read_text())
    assert profile["target"] == "jetson-orin-nano"
    assert profile["input"] == {"name": "images", "dtype": "uint8", "shape": [1, 32, 32, 3]}
    assert profile["commands"]["TensorRT 10"] == build_command("10", "int8", 32, ORIN.workspace_mb)


@needs_sh
def test_the_script_is_sound(kit):
    script = kit[1] / "build-int8.sh"
    assert script.stat().st_mode & stat.S_IXUSR
    subprocess.run(["sh", "-n", str(script)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(script)], check=True)


@needs_sh
@pytest.mark.parametrize("release", BANNERS)
def test_the_script_builds_as_the_devices_release_wants_it(kit, tmp_path, release):
    folder = kit[1]
    done = run_script(folder / "build-int8.sh", tmp_path, BANNERS[release])
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [str(folder), *build_command(release, "int8", 32, ORIN.workspace_mb)[1:]]


@needs_sh
@pytest.mark.parametrize(("banner", "word"), [(TOO_OLD, "8412"), ("Segmentation fault", "unknown")])
def test_a_release_the_kit_is_not_for_is_refused(kit, tmp_path, banner, word):
    done = run_script(kit[1] / "build-int8.sh", tmp_path, banner)
    assert done.returncode == 1 and word in done.stderr
    assert not (tmp_path / "asked").exists()


@needs_sh
def test_a_device_newer_than_its_kit_is_told_so(exported_digits, tmp_path):
    folder = tmp_path / "kit"
    folder.mkdir()
    model = exported_digits(variants_for(XAVIER, "int8")[0])[0]
    record = build(XAVIER, {"int8": model}, 32, folder, SilentEvents())
    assert record.engines[0].file == "int8-opset17.onnx"
    done = run_script(folder / "build-int8.sh", tmp_path, BANNERS["10"])
    assert done.returncode == 1 and "lacks int8.onnx" in done.stderr


def test_the_agent_chooses_the_same_flags():
    trtexec = pytest.importorskip("tmkd_deploy.agent.build.trtexec")
    numbers = {"8.5": (8, 5, 2), "8.6": (8, 6, 2), "10": (10, 3, 0), "11": (11, 1, 0)}
    job = dict.fromkeys(("onnx", "plan", "workspace_mb", "timing_cache", "layers", "dla_core"))
    job |= {"input": "images", "height": 32, "width": 32, "typing": "strong", "calibration": None}
    job |= {"gpu_fallback": True}
    shared = {"--int8", "--fp16", "--stronglyTyped", "--noTF32", "--buildOnly", "--skipInference"}
    shared |= {"--useDLACore=1", "--allowGPUFallback"}
    for release, number in numbers.items():
        assert trtexec.typing_name(number, "strong", dla=False) == typing_of(release)
        for precision in ("int8", "fp16", "fp32"):
            cores = (None,) if precision == "fp32" else (None, 1)
            for core in cores:
                asked = {**job, "precision": precision, "dla_core": core}
                theirs = trtexec.build_command("trtexec", number, asked)
                ours = build_command(release, precision, 32, None, core)
                assert shared & set(theirs) == shared & set(ours)


def test_a_kit_is_no_engine(kit):
    with pytest.raises(EnvironmentProblem, match="must be built on the device first"):
        TensorRTKit().open(kit[1] / "int8.onnx", 1)
