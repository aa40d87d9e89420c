"""Verification in a process that can be ended."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import hostile_engines
import pytest
from colour_bundle import with_member

from tmkd_deploy.bundle.verify_process import verify_apart
from tmkd_deploy.errors import DataError
from tmkd_deploy.runtime import verify


def test_it_finds_what_verification_here_finds(bundle: Path) -> None:
    assert verify_apart(bundle) == json.loads(json.dumps(dataclasses.asdict(verify(bundle))))
    bundle.write_bytes(bundle.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a complete zip file") as caught:
        verify_apart(bundle)
    assert caught.value.where == str(bundle)


def test_no_module_of_the_current_folder_is_imported(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "hostile"
    folder.mkdir()
    (folder / "json.py").write_text("raise SystemExit('a json of a stranger')\n")
    monkeypatch.chdir(folder)
    assert verify_apart(bundle)["executed"]


def test_an_engine_that_takes_too_long_is_ended(bundle: Path) -> None:
    with_member(bundle, "engine-0.onnx", hostile_engines.slow(multiplications=3000))
    with pytest.raises(DataError, match="cannot be verified within 2 s"):
        verify_apart(bundle, deadline_s=2)


def test_an_engine_that_takes_too_much_memory_is_refused(bundle: Path) -> None:
    with_member(bundle, "engine-0.onnx", hostile_engines.hungry(gibibytes=4))
    with pytest.raises(DataError, match=r"The bundle cannot be used: its engine fails \(.*allocat"):
        verify_apart(bundle, memory_bytes=1 << 30)


def test_a_small_bundle_needs_little_memory(bundle: Path) -> None:
    assert verify_apart(bundle, memory_bytes=1 << 30)["executed"]
