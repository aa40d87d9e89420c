"""A device behind a real OpenSSH server, with numpy and ONNX Runtime but no torch."""

from __future__ import annotations

import hashlib
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded_events import RecordedEvents
from sshd import SshDevice, before_step, needs_sshd, ssh_device, wait_until

from tmkd_deploy.devices import device as device_module
from tmkd_deploy.devices.address import parse
from tmkd_deploy.devices.channel import Channel
from tmkd_deploy.devices.device import Device
from tmkd_deploy.devices.session import Session
from tmkd_deploy.devices.ssh_route import CONFIGURATION, SshRoute
from tmkd_deploy.errors import EnvironmentProblem, ExitCode

pytestmark = needs_sshd

BLOCK = 1 << 16
LARGE = 48 * BLOCK
TIMEOUT = 60.0

# A user's program that measures for longer than any wait in these tests.
HOST = """
import sys
from pathlib import Path
from recorded_events import RecordedEvents
from test_devices_over_ssh import measure
from tmkd_deploy.cli import interrupts
from tmkd_deploy.devices.address import parse
from tmkd_deploy.devices.device import Device

interrupts.install()
events = RecordedEvents(lambda: print("at work", flush=True))
with Device(parse(sys.argv[1]), events) as device:
    measure(device, Path(sys.argv[2]), Path(sys.argv[3]), seconds=20)
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshDevice]:
    monkeypatch.setattr(device_module, "RECONNECT_AFTER_SECONDS", (0.05, 0.1, 0.2))
    with ssh_device(tmp_path / "device") as device:
        monkeypatch.setenv(CONFIGURATION, str(device.config))
        yield device


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(LARGE))
    return path


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine that classifies colours."""
    colours = pytest.importorskip("colour_bundle")
    pytest.importorskip("onnxruntime")
    path: Path = tmp_path_factory.mktemp("engine") / "engine.onnx"
    path.write_bytes(colours.colour_model())
    return path


@pytest.fixture(scope="module")
def images(engine: Path) -> Path:
    """Ten images of each colour in turn, uint8 [30, 8, 8, 3]."""
    from colour_bundle import COLOURS, solid

    path = engine.with_name("images.npy")
    np.save(path, np.stack([solid(colour) for colour in COLOURS] * 10))
    return path


def classes(device: Device, engine: Path, images: Path, folder: Path) -> list[int]:
    """The classes that an engine on the device predicts."""
    answer = device.request(
        "predict",
        runtime="onnxruntime",
        engine=device.upload(engine),
        images=device.upload(images),
        threads=1,
        precise_int8=None,
    )
    device.download(answer["logits"], folder / "logits.npy")
    return [int(each) for each in np.load(folder / "logits.npy").argmax(axis=1)]


def measure(device: Device, engine: Path, images: Path, seconds: float) -> dict[str, Any]:
    """The times of an engine on the device."""
    device.lock()
    row = {"runtime": "onnxruntime", "engine": device.upload(engine), "precise_int8": None}
    return device.request(
        "measure",
        engines=[{"name": "fp32", **row}],
        images=device.upload(images),
        settings={
            "warmup_seconds": 0.05,
            "min_runs": 20,
            "min_seconds": seconds,
            "threads": 1,
        },
    )


def test_a_device_without_torch_predicts(
    server: SshDevice, engine: Path, images: Path, tmp_path: Path
) -> None:
    events = RecordedEvents()
    with Device(parse(server.address), events) as device:
        assert device.info["machine"] == platform.machine()
        device.lock()
        assert classes(device, engine, images, tmp_path) == [0, 1, 2] * 10
    assert events.warnings == []
    server.wait_until_idle()
    done = subprocess.run(
        [server.bin / "python3", "-c", "import numpy, onnxruntime, torch"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No module named 'torch'" in done.stderr


def test_a_file_that_is_there_is_not_sent_again(
    server: SshDevice, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = 0
    send = Channel.send_until_line

    def counted(channel: Channel, data: memoryview, timeout: float) -> memoryview:
        nonlocal sent
        rest = send(channel, data, timeout)
        sent += len(data) - len(rest)
        return rest

    events = RecordedEvents()
    with Device(parse(server.address), events) as device:
        monkeypatch.setattr(Channel, "send_until_line", counted)  # from here on: the agent is there
        assert device.upload(large) == hashlib.sha256(large.read_bytes()).hexdigest()
        assert sent == LARGE
        sha256 = device.upload(large)
        assert sent == LARGE
        device.download(sha256, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == large.read_bytes()
    begun = [told[1:] for told in events.told if told[0] == "begin"]
    megabytes = LARGE // 2**20
    assert begun == [
        (f"Sending {large.name} ({server.address})", megabytes, "MB"),
        (f"Fetching back ({server.address})", megabytes, "MB"),
    ]


def test_an_upload_goes_on_where_it_stopped(server: SshDevice, large: Path) -> None:
    content = large.read_bytes()
    request = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": LARGE}
    part = server.agent_home / "files" / f"{request['sha256']}.part"
    route = SshRoute(parse(server.address))  # type: ignore[arg-type]
    offsets = []

    first = Session(route, "device", TIMEOUT)

    def send_half(message: Any) -> None:
        with large.open("rb") as file:
            first.send_file(file, LARGE // 2, print)
        wait_until(
            lambda: part.exists() and part.stat().st_size == LARGE // 2, "half of it is there"
        )
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.request("receive", request, send_half)
    server.wait_until_idle()

    second = Session(route, "device", TIMEOUT)

    def send_rest(message: Any) -> None:
        if message["type"] == "ready":
            offsets.append(message["offset"])
            with large.open("rb") as file:
                file.seek(message["offset"])
                second.send_file(file, LARGE - message["offset"], send_rest)

    assert second.request("receive", request, send_rest)["sha256"] == request["sha256"]
    second.close()
    assert offsets == [LARGE // 2]
    assert part.with_suffix("").read_bytes() == content


@pytest.mark.parametrize(
    ("during", "step"),
    [("lock", 1)]
    + [("upload", step) for step in (1, 2, 4, 25, 48)]
    + [("predict", 1), ("predict", 2)]
    + [("download", step) for step in (1, 17)],
)
def test_a_connection_that_is_cut_at_any_point(
    during: str,
    step: int,
    server: SshDevice,
    large: Path,
    engine: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def begin(what: str) -> None:
        if what == during:
            before_step(monkeypatch, step, server.cut)

    events = RecordedEvents()
    with Device(parse(server.address), events) as device:
        begin("lock")
        device.lock()
        begin("upload")
        sha256 = device.upload(large)
        if during == "predict":
            begin("predict")
            assert classes(device, engine, images, tmp_path) == [0, 1, 2] * 10
        begin("download")
        device.download(sha256, tmp_path / "back")
        device.request("clean")
    assert (tmp_path / "back").read_bytes() == large.read_bytes()
    assert len(events.warnings) == 1
    assert "was lost" in events.warnings[0] and "Retrying" in events.warnings[0]
    server.wait_until_idle()


def test_a_connection_that_is_cut_while_measuring(
    server: SshDevice, engine: Path, images: Path
) -> None:
    events = RecordedEvents(server.cut)
    with Device(parse(server.address), events) as device:
        times = measure(device, engine, images, seconds=0.3)
    assert sum(map(len, times["blocks"]["fp32"])) >= 20
    assert len(events.warnings) == 1


def test_a_device_that_stays_away_is_given_up(server: SshDevice) -> None:
    events = RecordedEvents()
    with Device(parse(server.address), events) as device:
        server.stop()
        with pytest.raises(EnvironmentProblem) as caught:
            device.lock()
    assert "cannot be reached" in caught.value.problem
    assert caught.value.exit_code == ExitCode.ENVIRONMENT
    assert len(events.warnings) == 3


def test_an_agent_that_is_killed_makes_one_think_of_memory(
    server: SshDevice, engine: Path, images: Path
) -> None:
    def kill() -> None:
        for pid in server.processes():
            os.kill(pid, signal.SIGKILL)

    events = RecordedEvents(kill)
    with Device(parse(server.address), events) as device:
        with pytest.raises(EnvironmentProblem, match="memory ran out") as caught:
            measure(device, engine, images, seconds=20)
        assert caught.value.where == server.address
        assert events.warnings == [], "what ran out of memory once does so again"
        device.lock()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_end_of_the_host_ends_the_work_there(
    number: signal.Signals, server: SshDevice, engine: Path, images: Path
) -> None:
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, server.address, str(engine), str(images)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert host.stdout is not None
    with host, host.stdout:
        assert host.stdout.readline() == "at work\n"
        assert server.processes()
        host.send_signal(number)
        assert host.wait() == -number
    server.wait_until_idle()
