"""Devices that cannot be reached or used: each is refused in one sentence, with advice."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from recorded_events import RecordedEvents
from sshd import SshDevice, before_step, needs_sshd, ssh_device

from tmkd_deploy.devices import ssh_route
from tmkd_deploy.devices.address import parse
from tmkd_deploy.devices.device import Device
from tmkd_deploy.devices.ssh_route import CONFIGURATION
from tmkd_deploy.errors import BusyError, DataError, EnvironmentProblem, ExitCode, TmkdError

pytestmark = needs_sshd

SMALL_DISK = 4 << 20
FILLER = "filler"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshDevice]:
    with ssh_device(tmp_path / "device") as device:
        monkeypatch.setenv(CONFIGURATION, str(device.config))
        yield device


@pytest.fixture
def small_disk(server: SshDevice) -> Iterator[SshDevice]:
    """The device, with its agent's folder on a disk of `SMALL_DISK` bytes."""
    server.agent_home.mkdir()
    options = f"size={SMALL_DISK},mode=0700"  # as the agent requires of its folder
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(server.agent_home)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield server
    finally:
        subprocess.run(["umount", "--lazy", str(server.agent_home)], check=True)


def fill(folder: Path) -> None:
    """Fill the disk of `folder`."""
    with (folder / FILLER).open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))


def refusal(address: str) -> TmkdError:
    """The error from opening this device, which has a problem, a place and advice."""
    with pytest.raises(EnvironmentProblem) as caught, Device(parse(address), RecordedEvents()):
        pass
    error = caught.value
    assert error.exit_code == ExitCode.ENVIRONMENT
    assert error.problem[0].isupper() and error.problem[-1] == "."
    assert (error.where or "").startswith(address)
    assert error.advice
    return error


def test_a_closed_port(server: SshDevice) -> None:
    with socket.socket() as taken:  # by nobody who listens, as long as this test runs
        taken.bind(("127.0.0.1", 0))
        error = refusal(f"ssh://{server.user}@127.0.0.1:{taken.getsockname()[1]}")
    assert "cannot be reached" in error.problem and "Connection refused" in error.problem


def test_a_host_that_accepts_and_says_nothing(
    server: SshDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_route, "CONNECT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = refusal(f"ssh://127.0.0.1:{silent.getsockname()[1]}")
    assert "cannot be reached" in error.problem and "timed out" in error.problem


def test_an_unknown_host_name(server: SshDevice) -> None:
    error = refusal("ssh://orin.invalid")
    assert "cannot be reached" in error.problem and "orin.invalid" in error.problem


def test_something_else_that_answers_on_the_port(server: SshDevice) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

        answering = threading.Thread(target=answer)
        answering.start()
        error = refusal(f"ssh://127.0.0.1:{other.getsockname()[1]}")
        answering.join()
    assert "cannot be reached" in error.problem


def test_a_refused_key(server: SshDevice) -> None:
    server.write_client_config(server.host_key)
    error = refusal(server.address)
    assert f"refused the login of {server.user}@127.0.0.1 (it accepts: publickey)" in error.problem
    assert f"ssh-copy-id -p {server.port} {server.user}@127.0.0.1" in error.advice


def test_a_wrong_user(server: SshDevice) -> None:
    error = refusal(f"ssh://nobody-here@127.0.0.1:{server.port}")
    assert "refused the login of nobody-here@127.0.0.1 " in error.problem
    assert "Check the user's name" in error.advice


def test_an_unknown_host_key(server: SshDevice) -> None:
    server.known_hosts.write_text("", encoding="utf-8")
    error = refusal(server.address)
    assert "ED25519 host key is not known" in error.problem
    assert f"[127.0.0.1]:{server.port}" in (error.where or "")
    assert "compare the fingerprint" in error.advice
    assert f"ssh -p {server.port} {server.user}@127.0.0.1" in error.advice
    assert server.known_hosts.read_text(encoding="utf-8") == "", "it was accepted unasked"


def test_a_changed_host_key(server: SshDevice) -> None:
    server.trust(server.user_key)
    error = refusal(server.address)
    assert "may be an attack" in error.problem
    assert f"{server.known_hosts}:1" in (error.where or "")
    assert f'ssh-keygen -f "{server.known_hosts}" -R' in error.advice


def test_a_configuration_that_is_not_there(
    server: SshDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONFIGURATION, str(server.folder / "none"))
    assert f"{server.folder}/none" in refusal(server.address).problem


def test_no_python(server: SshDevice) -> None:
    (server.bin / "python3").unlink()
    error = refusal(server.address)
    assert "cannot run python3" in error.problem and "not found" in error.problem
    assert "apt-get install python3" in error.advice


def test_another_python_by_its_path(server: SshDevice) -> None:
    own = server.bin / "own-python"
    (server.bin / "python3").rename(own)
    with Device(parse(f"{server.address}?python={own}"), RecordedEvents()) as device:
        assert device.info["machine"]
    error = refusal(f"{server.address}?python=/nowhere/python3")
    assert "cannot run /nowhere/python3" in error.problem
    assert "after 'python='" in error.advice


def test_a_python_that_cannot_be_executed(server: SshDevice) -> None:
    (server.bin / "python3").chmod(0o644)
    assert "cannot run python3" in refusal(server.address).problem


def test_a_python_that_is_too_old(server: SshDevice) -> None:
    server.alter_python('import sys; sys.version_info = (3, 6, 9, "final", 0)')
    error = refusal(server.address)
    assert "version 3.6.9, which is too old" in error.problem
    assert "3.8" in error.advice


def test_a_python_that_breaks_at_once(server: SshDevice) -> None:
    server.give_python("echo a library is missing >&2; exit 3")
    error = refusal(server.address)
    assert "exit code 3" in error.problem and "a library is missing" in error.problem


def test_a_login_that_is_not_allowed_to_run_anything(server: SshDevice) -> None:
    server.give_python("echo This account is closed.; exit 1")
    assert "This account is closed." in refusal(server.address).problem


def test_a_banner_without_end(server: SshDevice) -> None:
    server.give_python("while true; do echo Welcome to this device; done")
    error = refusal(server.address)
    assert 'it began with "Welcome to this device"' in error.problem
    server.wait_until_idle()


def test_an_agent_of_another_schema_version(server: SshDevice) -> None:
    server.give_python("""echo '{"tmkd":2,"type":"hello"}'""")
    error = refusal(server.address)
    assert "speaks version 2" in error.problem and "speaks version 1" in error.problem


def test_a_disk_too_full_for_the_agent(small_disk: SshDevice) -> None:
    fill(small_disk.agent_home)
    error = refusal(small_disk.address)
    assert "No space left on device" in error.problem
    assert "Free some space" in error.advice
    assert str(small_disk.agent_home) in (error.where or "")
    assert [path.name for path in small_disk.agent_home.iterdir()] == [FILLER]


def test_a_file_larger_than_the_free_space(small_disk: SshDevice, tmp_path: Path) -> None:
    large = tmp_path / "engine"
    large.write_bytes(os.urandom(2 * SMALL_DISK))
    with Device(parse(small_disk.address), RecordedEvents()) as device:
        with pytest.raises(EnvironmentProblem, match=r"MB free and this file needs 8\.0 MB"):
            device.upload(large)
        assert device.request("clean")["files"] == 0, "the session goes on"


def test_a_disk_that_is_full_in_mid_upload(
    small_disk: SshDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "engine"
    file.write_bytes(os.urandom(SMALL_DISK // 2))
    with Device(parse(small_disk.address), RecordedEvents()) as device:
        before_step(monkeypatch, 12, lambda: fill(small_disk.agent_home))
        with pytest.raises(EnvironmentProblem, match="disk is full") as caught:
            device.upload(file)
        assert caught.value.exit_code == ExitCode.ENVIRONMENT
        assert "Free some space" in caught.value.advice
        (small_disk.agent_home / FILLER).unlink()
        sha256 = device.upload(file)
    assert (small_disk.agent_home / "files" / sha256).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("end", ["echo", "printf %s"], ids=["line", "no-line"])
def test_a_login_banner_is_passed_over(server: SshDevice, end: str) -> None:
    server.give_python(f"{end} 'Welcome! 12 updates.'; {server.python} \"$@\"")
    events = RecordedEvents()
    with Device(parse(server.address), events) as device:
        device.lock()
    assert events.told == []


def test_a_clock_that_is_a_year_off(server: SshDevice) -> None:
    server.alter_python("import time; now = time.time; time.time = lambda: now() - 365 * 86400")
    events = RecordedEvents()
    with Device(parse(server.address), events) as device:
        device.lock()
    (warning,) = events.warnings
    this_year = datetime.now(timezone.utc).year
    assert f"shows {this_year - 1}-" in warning and f"machine's {this_year}-" in warning
    assert server.address in warning and "timedatectl" in warning


def test_a_device_that_another_run_holds(server: SshDevice) -> None:
    address = parse(server.address)
    with Device(address, RecordedEvents()) as first, Device(address, RecordedEvents()) as second:
        first.lock()
        with pytest.raises(BusyError) as caught:
            second.lock()
        assert f"process {os.getpid()}-" in caught.value.problem
        assert socket.gethostname() in caught.value.problem
        assert caught.value.where == server.address
        first.lock()
        first.__exit__(None, None, None)
        second.lock()


def test_a_file_that_the_device_does_not_hold(server: SshDevice, tmp_path: Path) -> None:
    with (
        Device(parse(server.address), RecordedEvents()) as device,
        pytest.raises(DataError, match="does not hold"),
    ):
        device.download("0" * 64, tmp_path / "file")
    assert list(tmp_path.glob("*file*")) == []
