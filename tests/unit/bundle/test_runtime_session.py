"""How an ONNX Runtime session is opened."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from colour_bundle import colour_model

from tmkd_deploy.runtime import onnxruntime_session
from tmkd_deploy.runtime.onnxruntime_session import (
    create_session,
    has_vnni,
    precise_int8_default,
)

PRECISE = "session.x64quantprecision"


def cpuinfo(folder: Path, text: str) -> Path:
    path = folder / "cpuinfo"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni sha_ni\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx2 avx_vnni\n", True),
        ("processor\t: 0\nflags\t\t: fpu sse2 avx2 avx512f\n", False),
        ("processor\t: 0\nmodel name\t: avx_vnni\nflags\t\t: fpu avx2\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp\n", None),
        ("", None),
    ],
)
def test_vnni_is_read_from_the_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, answer: bool | None
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert has_vnni(cpuinfo(tmp_path, text)) is answer


def test_vnni_is_unknown_where_the_kernel_does_not_say(tmp_path: Path) -> None:
    assert has_vnni(tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("machine", "vnni", "precise"),
    [
        ("x86_64", True, False),
        ("x86_64", False, True),
        ("AMD64", None, True),
        ("aarch64", None, False),
        ("arm64", None, False),
    ],
)
def test_precise_arithmetic_is_for_x86_without_vnni(
    monkeypatch: pytest.MonkeyPatch, machine: str, vnni: bool | None, precise: bool
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(onnxruntime_session, "has_vnni", lambda: vnni)
    assert precise_int8_default() is precise


@pytest.mark.parametrize("precise", [True, False])
def test_the_session_has_the_options_it_was_asked_for(precise: bool) -> None:
    session = create_session(colour_model(), threads=2, precise_int8=precise)
    options = session.get_session_options()
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.graph_optimization_level.name == "ORT_ENABLE_ALL"
    if precise:
        assert options.get_session_config_entry(PRECISE) == "1"
    else:
        with pytest.raises(RuntimeError, match=PRECISE):
            options.get_session_config_entry(PRECISE)


def test_a_model_file_opens_too_and_quietly(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(colour_model())
    program = (
        "import sys; from tmkd_deploy.runtime.onnxruntime_session import create_session; "
        "print(create_session(sys.argv[1], threads=1).get_inputs()[0].type)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("tensor(uint8)\n", "")
