"""The requests of `doctor --prove`; programs that only boards have are stand-ins."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_agent_tensorrt_session import cuda, engine, sidecar_for, tensorrt  # noqa: F401
from test_agent_trtexec import XAVIER_8_4
from tiny_models import SIDE, Bench, model

from tmkd_deploy.agent.agent_errors import AgentError
from tmkd_deploy.agent.build import install_request
from tmkd_deploy.agent.proving import foreign_engine as foreign
from tmkd_deploy.agent.proving import trtexec_times as times
from tmkd_deploy.agent.proving.board_files import board_files
from tmkd_deploy.agent.proving.cpp_run import cpp_run
from tmkd_deploy.agent.proving.kit_build import kit_build
from tmkd_deploy.agent.proving.power_comparison import power_comparison
from tmkd_deploy.agent.proving.remove_installed import remove_installed
from tmkd_deploy.agent.transport.dispatch import handle
from tmkd_deploy.devices import answers
from tmkd_deploy.runtime.installed_engines import FOLDER_VARIABLE

TIMES = {"input": "images", "height": SIDE, "width": SIDE, "seconds": 2}
# tegrastats of an Orin: https://github.com/rbonghi/jetson_stats/issues/603
LINE = "RAM 2500/7620MB CPU [1%@729] VDD_IN 4480mW/4480mW VDD_SOC 1350mW/1350mW"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "work")


def install(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that a device has in its PATH."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return path


def prints(text: str) -> str:
    return f"cat <<'END'\n{text}\nEND"


def test_the_median_of_trtexec_is_read(bench, tmp_path, monkeypatch) -> None:
    path = install(tmp_path / "bin", "trtexec", prints(XAVIER_8_4), monkeypatch)
    answer = times.trtexec_times({**TIMES, "engine": bench.put(b"plan")}, bench.context)
    assert answers.check("trtexec_times", answer)
    assert (answer["compute_ms"], answer["latency_ms"]) == (0.388443, 0.401947)
    assert answer["command"][0] == str(path)
    assert f"--shapes=images:1x{SIDE}x{SIDE}x3" in answer["command"]
    assert "--useCudaGraph" not in answer["command"]
    assert answer["lines"][-1].startswith("&&&& PASSED")
    graph = {**TIMES, "engine": bench.put(b"plan"), "cuda_graph": True}
    assert "--useCudaGraph" in times.trtexec_times(graph, bench.context)["command"]


@pytest.mark.parametrize("script", ["exit 1", "true", prints(XAVIER_8_4) + "\nexit 3"])
def test_a_trtexec_that_fails_gives_no_times(bench, tmp_path, monkeypatch, script) -> None:
    install(tmp_path / "bin", "trtexec", script, monkeypatch)
    with pytest.raises(AgentError, match="gave no times"):
        times.trtexec_times({**TIMES, "engine": bench.put(b"plan")}, bench.context)


def test_a_missing_trtexec_is_named(bench, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(times, "program", lambda name: None)
    with pytest.raises(AgentError, match="not installed"):
        times.trtexec_times({**TIMES, "engine": bench.put(b"plan")}, bench.context)


def test_the_script_of_a_kit_is_run_beside_its_files(bench, tmp_path, monkeypatch) -> None:
    install(tmp_path / "bin", "trtexec", "true", monkeypatch)
    script = b'cd "$(dirname "$0")"; test -x "$TRTEXEC" && cp int8.onnx int8.engine; echo done'
    files = {"int8.onnx": bench.put(b"model"), "build-int8.sh": bench.put(script)}
    request = {"files": files, "script": "build-int8.sh", "written": "int8.engine"}
    answer = kit_build(request, bench.context)
    assert answers.check("kit_build", answer)
    assert answer == {"status": 0, "engine": files["int8.onnx"], "lines": ["done"]}
    files["build-int8.sh"] = bench.put(b"exit 7")
    assert kit_build(request, bench.context)["engine"] is None
    assert kit_build(request, bench.context)["status"] == 7


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/b", "", ".bashrc", "a\n"])
def test_a_kit_lies_in_its_own_folder(bench, tmp_path, monkeypatch, name) -> None:
    install(tmp_path / "bin", "trtexec", "true", monkeypatch)
    request = {"files": {name: bench.put(b"a")}, "script": "a.sh", "written": "b"}
    with pytest.raises(AgentError, match="not the name of a file"):
        kit_build(request, bench.context)


def test_power_is_read_from_two_sources_under_load(bench, tmp_path, monkeypatch) -> None:
    pytest.importorskip("onnxruntime")
    script = f"while echo '{LINE}'; do sleep 0.05; done"
    install(tmp_path / "bin", "tegrastats", script, monkeypatch)
    np.save(tmp_path / "images.npy", np.zeros((2, SIDE, SIDE, 3), np.uint8))
    answer = power_comparison(
        {
            "runtime": "onnxruntime",
            "engine": bench.put(model(quant_scheme="unsigned", quantized=False)),
            "images": bench.put((tmp_path / "images.npy").read_bytes()),
            "seconds": 1,
        },
        bench.context,
    )
    assert answers.check("power_comparison", answer)
    assert set(answer["tegrastats"]) == {"VDD_IN", "VDD_SOC"}
    assert set(answer["tegrastats"]["VDD_IN"]) == {4480.0}
    assert answer["runs"] > 0


def test_an_engine_of_another_release_is_refused_by_name(cuda, tensorrt, engine, bench) -> None:  # noqa: F811
    stored = bench.context.stored_file(bench.put(engine.read_bytes()))
    sidecar_for(stored)
    request = {"do": "foreign_engine", "runtime": "tensorrt", "engine": stored.name}
    answer = foreign.foreign_engine(request, bench.context)
    assert answers.check("foreign_engine", answer)
    assert answer["claimed"] in answer["refused"] and answer["here"] in answer["refused"]
    assert tensorrt.runtimes == [], "TensorRT has seen it"
    assert json.loads(Path(f"{stored}.json").read_text())["versions"]["runtime"] == "10.3.0"


def test_an_engine_that_is_not_refused_is_told(cuda, tensorrt, engine, bench, monkeypatch) -> None:  # noqa: F811
    stored = bench.context.stored_file(bench.put(engine.read_bytes()))
    sidecar_for(stored)
    monkeypatch.setattr(foreign, "RELEASE", "10.3.0")
    request = {"runtime": "tensorrt", "engine": stored.name}
    assert foreign.foreign_engine(request, bench.context)["refused"] is None


def test_an_engine_that_a_proof_installed_is_removed(cuda, tensorrt, bench, monkeypatch) -> None:  # noqa: F811
    folder = bench.context.folder / "engines"
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    plan = bench.put(b"plan")
    key = {"runtime": "tensorrt", "onnx_sha256": "a" * 64, "precision": "int8", "typing": "strong"}
    install_request.install({**key, "engine": plan, "bundle": "proof"}, bench.context)
    assert len(list(folder.iterdir())) == 2
    for _ in range(2):
        remove_installed(key, bench.context)
        assert list(folder.iterdir()) == []


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize(("fails_at", "step"), [("-S", "configure"), ("--build", "build")])
def test_the_step_of_a_cpp_build_that_fails_is_named(
    bench, tmp_path, monkeypatch, fails_at, step
) -> None:
    install(tmp_path / "bin", "c++", "true", monkeypatch)
    script = f'echo "$@"; [ "$1" != "{fails_at}" ] || exit 3'
    install(tmp_path / "bin", "cmake", script, monkeypatch)
    answer = cpp_run(cpp_request(bench, {"CMakeLists.txt": b""}), bench.context)
    assert answers.check("cpp_run", answer)
    assert (answer["status"], answer["step"]) == (3, step)
    assert "-DTMKD_TENSORRT=ON" in answer["lines"][0] or step == "build"


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_sources_stay_in_their_folder(bench, tmp_path, monkeypatch, name) -> None:
    for program in ("c++", "cmake"):
        install(tmp_path / "bin", program, "true", monkeypatch)
    with pytest.raises(AgentError, match="lies outside"):
        cpp_run(cpp_request(bench, {name: b""}), bench.context)
    assert not list(tmp_path.rglob("outside"))


def cpp_request(bench: Bench, sources: dict[str, bytes]) -> dict[str, Any]:
    files = {"sources": zipped(sources), "bundle": b"bundle", "frames": b"frames"}
    stored = {name: bench.put(content) for name, content in files.items()}
    return {**stored, "side": SIDE, "runtime": "tensorrt"}


def test_a_missing_compiler_is_named(bench, tmp_path, monkeypatch) -> None:
    install(tmp_path / "bin", "cmake", "true", monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(AgentError, match=r"c\+\+ is not installed\.$"):
        cpp_run(cpp_request(bench, {}), bench.context)


def test_what_a_machine_without_a_board_says_is_empty(bench) -> None:
    answer = board_files({}, bench.context)
    assert answers.check("board_files", answer)
    if not Path("/etc/nv_tegra_release").exists():
        assert answer["release"] == [] and answer["modes"] == []


def test_power_modes_are_quoted_as_the_board_lists_them(bench, tmp_path, monkeypatch) -> None:
    install(tmp_path / "bin", "nvpmodel", prints("NV Power Mode: 15W\n2"), monkeypatch)
    assert board_files({}, bench.context)["nvpmodel"] == ["NV Power Mode: 15W", "2"]


@pytest.mark.parametrize(
    "name", ["trtexec_times", "kit_build", "power_comparison", "foreign_engine", "cpp_run"]
)
def test_what_runs_engines_needs_the_lock(bench, name) -> None:
    with pytest.raises(AgentError, match="lock"):
        handle({"id": 1, "do": name}, bench.context)
