"""A run's devices, by a real agent on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tmkd_deploy.devices.attached_devices import AttachedDevices
from tmkd_deploy.devices.device import Device
from tmkd_deploy.events import SilentEvents


def test_a_run_cleans_a_device_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "agent"
    monkeypatch.setenv("TMKD_DEPLOY_AGENT_HOME", str(home))
    (home / "scratch").mkdir(parents=True)
    unfinished = home / "scratch" / "plan"
    requests = []
    request = Device.request

    def recorded(device: Device, name: str, **arguments: object) -> object:
        requests.append(name)
        return request(device, name, **arguments)

    monkeypatch.setattr(Device, "request", recorded)
    unfinished.write_bytes(b"of a session that was killed")
    devices = AttachedDevices(SilentEvents())
    for _ in range(2):
        with devices.locked("local"):
            assert not unfinished.exists()
    assert requests == ["lock", "clean", "lock"]
