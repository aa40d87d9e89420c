"""`doctor --prove` on a device behind a real OpenSSH server, which has ONNX Runtime and no GPU."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from project import COMMAND
from recorded_events import RecordedEvents
from sshd import SshDevice, needs_sshd, ssh_device

from tmkd_deploy.cli.main import main
from tmkd_deploy.devices.address import parse
from tmkd_deploy.devices.ssh_route import CONFIGURATION
from tmkd_deploy.prove import markdown, proof, run
from tmkd_deploy.prove.checks import applications
from tmkd_deploy.prove.checks.decisions import expect_same_decisions
from tmkd_deploy.prove.outcome import Evidence
from tmkd_deploy.prove.registry import CHECKS, Check
from tmkd_deploy.prove.workbench import Workbench

pytestmark = needs_sshd
pytest.importorskip("onnxruntime")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshDevice]:
    with ssh_device(tmp_path / "device") as device:
        monkeypatch.setenv(CONFIGURATION, str(device.config))
        yield device


def only_proof(folder: Path) -> proof.Proof:
    (path,) = folder.glob("*.json")
    return proof.read(path)


def test_a_device_without_a_gpu_is_proved_as_far_as_it_goes(server, tmp_path, capsys) -> None:
    into = tmp_path / "proofs"
    command = ["doctor", "--prove", "--device", server.address, "--into", str(into), "--json"]
    assert main(command) == 0
    printed, told = capsys.readouterr()
    found = only_proof(into)
    assert json.loads(printed) == found.model_dump(mode="json")
    assert {each.id for each in found.claims} == CHECKS.keys()
    assert found.complete and found.before == found.after and len(found.seal) == 64
    by_id = {each.id: each for each in found.claims}
    assert by_id["build"].outcome == "not run"
    assert by_id["build"].reason == "This device has no GPU."
    (path,) = into.glob("*.md")
    assert path.read_text(encoding="utf-8") == markdown.page(found)
    assert f"Claim {len(CHECKS)} of {len(CHECKS)}" in told
    server.wait_until_idle()


def decides(bench: Workbench, evidence: Evidence) -> None:
    for precision in ("fp32", "int8"):
        expect_same_decisions(bench, evidence, bench.onnxruntime(precision), precision)


def lingers(bench: Workbench, evidence: Evidence) -> None:
    engine = bench.onnxruntime("fp32")
    bench.device.stop_at(time.monotonic() + 0.5)  # as the limit does
    bench.timed({"fp32": engine}, 3600.0)


def test_engines_really_run_there_and_the_time_is_kept(server, tmp_path) -> None:
    checks = {"arm-decisions": Check(decides, 0), "latency": Check(lingers, 0)}
    events = RecordedEvents()
    found, _ = run.prove(parse(server.address), tmp_path, events, "", checks=checks)
    decided, lingered = found.claims
    assert decided.outcome == "shown", decided
    assert decided.figures["int8_agreement"] >= 0.98  # type: ignore[operator]
    assert lingered.outcome == "not run" and "time was up" in lingered.reason, lingered
    assert found.complete, "the last look at the device came afterwards"
    server.wait_until_idle()


def runs_from_cpp(bench: Workbench, evidence: Evidence) -> None:
    applications.run_from_cpp(bench, evidence, bench.onnxruntime("fp32"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs CMake and a compiler")
def test_the_cpp_runtime_is_built_there_and_decides_alike(server, tmp_path) -> None:
    server.give_python(f'export PATH="{os.environ["PATH"]}"\n{server.python} "$@"')
    checks = {"cpp-onnxruntime": Check(runs_from_cpp, 0)}
    found, _ = run.prove(parse(server.address), tmp_path, RecordedEvents(), "", checks=checks)
    (claim,) = found.claims
    assert claim.outcome == "shown", claim
    assert claim.figures["golden_images"] == 8
    assert len(claim.figures["decisions"]) == 20  # type: ignore[arg-type]


def test_a_device_without_cmake_does_not_build_the_cpp_runtime(server, tmp_path) -> None:
    checks = {"cpp-onnxruntime": Check(runs_from_cpp, 0)}
    found, _ = run.prove(parse(server.address), tmp_path, RecordedEvents(), "", checks=checks)
    (claim,) = found.claims
    assert claim.outcome == "not run" and "apt-get install cmake" in claim.reason, claim


def test_ctrl_c_leaves_an_incomplete_proof(server, tmp_path) -> None:
    into = tmp_path / "proofs"
    arguments = ["doctor", "--prove", "--device", server.address, "--into", str(into)]
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process:
        for line in process.stderr:
            if line.startswith("Claim 2 of"):
                process.send_signal(signal.SIGINT)
                break
        told = process.stderr.read()
        assert process.wait() == 130, told
    found = only_proof(into)
    assert not found.complete and found.after is None
    assert len(found.claims) == len(CHECKS)
    assert "The proof is incomplete" in told
    server.wait_until_idle()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prove"], "no device"),
        (["recipe.yaml", "--prove", "--device", "local"], "classifier of its own"),
        (["--extra", "train", "--prove", "--device", "local"], "classifier of its own"),
        (["--prove", "--device", "orin"], "not a device address"),
    ],
)
def test_a_proof_that_cannot_be_made_is_refused(arguments, words, capsys) -> None:
    assert main(["doctor", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_contradiction_is_exit_code_1(monkeypatch, tmp_path, capsys) -> None:
    def denied(*arguments: Any, **options: Any) -> tuple[proof.Proof, Path]:
        made = proof.read(Path(__file__).parents[2] / "proofs" / "emulated-aarch64-none.json")
        first = made.claims[0].model_copy(update={"outcome": "contradicted", "reason": "No."})
        claims = [first, *made.claims[1:]]
        return made.model_copy(update={"claims": claims}), tmp_path / "a.json"

    monkeypatch.setattr(run, "prove", denied)
    assert main(["doctor", "--prove", "--device", "local"]) == 1
    assert "contradicted" in capsys.readouterr().out
