"""`doctor --prove` with the real agent behind a real SSH server, on a stand-in for a Jetson.

Its files and programs say what those of an Orin NX do, and stand-ins for TensorRT and CUDA run the
engines on the CPU (tests/support). What this shows is that checks and agent understand each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import gpu_stand_ins
import pytest
from sshd import SshDevice, needs_sshd, ssh_device

from tmkd_deploy.cli.main import main
from tmkd_deploy.devices.ssh_route import CONFIGURATION
from tmkd_deploy.prove import proof, registry, workbench
from tmkd_deploy.runtime.cuda_runtime import LIBRARY_VARIABLE

pytestmark = [needs_sshd, pytest.mark.slow]
pytest.importorskip("onnxruntime")

SUPPORT = Path(gpu_stand_ins.__file__).parent
FILES = {
    "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic",
    "/proc/device-tree/model": "NVIDIA Jetson Orin NX Engineering Reference Developer Kit\0",
    "/proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0000\0nvidia,p3767-0000\0",
    "/etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN_SUPER >\n< POWER_MODEL ID=2 NAME=15W >\n",
    "/usr/local/cuda/version.json": '{"cuda": {"version": "12.6.68"}}',
}
PATCH = f"""
import pathlib, platform
files, read = {FILES!r}, pathlib.Path.read_text
pathlib.Path.read_text = lambda self, *them, **named: (
    files[str(self)].strip() if str(self) in files else read(self, *them, **named)
)
platform.machine = lambda: "aarch64"
"""
PROGRAMS = {
    "nvpmodel": "echo 'NV Power Mode: 15W'; echo 2",
    "dpkg-query": "echo 6.2+b77",
    "nvidia-smi": "echo 'Orin (nvgpu), 8.7, GPU-1, 7620, 540.4.0'",
    "tegrastats": "while echo 'VDD_IN 4480mW/4480mW'; do sleep 0.2; done",
    "trtexec": """echo '&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # trtexec'
for word in "$@"; do
    case "$word" in
        --onnx=*) onnx=${word#--onnx=} ;;
        --saveEngine=*) cp "$onnx" "${word#--saveEngine=}" ;;
        --loadEngine=*) echo '[1] [I] GPU Compute Time: min = 1 ms, median = 1000 ms, max = 1 ms' ;;
    esac
done
echo '&&&& PASSED TensorRT.trtexec [TensorRT v100300] # trtexec'""",
}


@pytest.fixture
def jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshDevice]:
    library = gpu_stand_ins.compiled(tmp_path)
    with ssh_device(tmp_path / "device") as device:
        monkeypatch.setenv(CONFIGURATION, str(device.config))
        for name, script in PROGRAMS.items():
            (device.bin / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
            (device.bin / name).chmod(0o755)
        (device.folder / "jetson_files.py").write_text(PATCH, encoding="utf-8")
        places = f"{SUPPORT}:{SUPPORT / 'stand_in_tensorrt'}:{device.folder}"
        device.give_python(
            f'export PYTHONPATH="$PYTHONPATH:{places}" {LIBRARY_VARIABLE}="{library}" '
            f'PATH="{device.bin}:/usr/bin:/bin"\n'
            f"{device.python} -c 'import jetson_files, sys; exec(sys.argv[2])' \"$@\""
        )
        yield device


def test_the_agent_understands_every_check(
    jetson: SshDevice, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(workbench, "_GPU_SIZE", (24, 32))
    into = tmp_path / "proofs"
    main(["doctor", "--prove", "--device", jetson.address, "--into", str(into), "--json"])
    told = capsys.readouterr()
    assert into.exists(), told
    (path,) = into.glob("*.json")
    assert path.name == "jetson-orin-nx-6.2.json"
    found = {each.id: each for each in proof.read(path).claims}
    assert found.keys() == registry.CHECKS.keys()
    for name in (
        *("module", "releases", "gpu", "build", "same-decisions"),
        *("fp16-scale-floor", "session", "cuda-graph", "install", "trtexec"),
    ):
        assert found[name].outcome == "shown", found[name]
    # a stand-in lists no layers, and is not as fast as its `trtexec` is slow
    for name, words in (("int8-layers", "no layers"), ("trtexec-latency", "ratio")):
        assert found[name].outcome == "contradicted" and words in found[name].reason, found[name]
    assert found["power"].figures["tegrastats_VDD_IN_mw"] == 4480
    # this engine is its ONNX file, which needs no manifest
    assert "has no manifest" in found["other-device"].reason
    engines = jetson.home / ".cache/tmkd-deploy/engines"
    assert not list(engines.glob("*")), "what was installed for the proof is still there"
    assert json.loads(path.read_text(encoding="utf-8"))["board"]["modules"]
    jetson.wait_until_idle()
