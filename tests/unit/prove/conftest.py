"""A proof of a stand-in for a device, with a classifier that is small and always the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_board import FakeBoard

from tmkd_deploy.devices.address import LocalAddress
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.prove import run, workbench
from tmkd_deploy.prove.proof import Proof
from tmkd_deploy.prove.registry import CHECKS


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbench, "_GPU_SIZE", (24, 32))
    monkeypatch.setattr(workbench, "TEST_IMAGES", 50)
    monkeypatch.setattr(run.secrets, "token_hex", lambda count: "the same images each time")


@pytest.fixture
def prove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Proof]:
    def proved(*names: str, board: FakeBoard | None = None, **how: Any) -> Proof:
        folder = tmp_path / "device"
        folder.mkdir(exist_ok=True)
        monkeypatch.setattr(run, "Device", board or FakeBoard(folder, **how))
        checks = {name: CHECKS[name] for name in names or CHECKS}
        events = SilentEvents()
        proof, _ = run.prove(LocalAddress(), tmp_path / "proofs", events, "test", checks=checks)
        return proof

    return proved
