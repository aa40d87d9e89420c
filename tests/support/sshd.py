"""A device behind a real OpenSSH server on loopback, with throw-away keys and a home of its own.

What the device runs as `python3` is a script in the one folder of its PATH, so a test decides
whether it has any Python, which, and with which packages.
"""

from __future__ import annotations

import contextlib
import getpass
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tmkd_deploy.devices.channel import Channel

SSHD = shutil.which("sshd", path=f"/usr/sbin:/usr/local/sbin:{os.environ.get('PATH', '')}")
needs_sshd = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None,
    reason="needs OpenSSH's server and client (apt-get install openssh-server)",
)

# What a small device has beside its Python; torch is not among it.
PACKAGES = ("numpy", "numpy.libs", "onnxruntime", "onnxruntime.libs", "openvino")
DEADLINE_SECONDS = 120.0  # far beyond what a slow machine takes


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return as soon as `condition` holds."""
    until = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < until, f"after {DEADLINE_SECONDS:g} s still not: {what}"
        time.sleep(0.005)


class SshDevice:
    """A running server in `folder`. `address` is how our programs name it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin, self.home, self.agent_home = (
            folder / name for name in ("bin", "home", "home/agent")
        )
        for path in (self.bin, self.home):
            path.mkdir(parents=True)
        self.config = folder / "ssh_config"
        self.known_hosts = folder / "known_hosts"
        self.host_key, self.user_key = folder / "host_key", folder / "user_key"
        for key in (self.host_key, self.user_key):
            make_key(key)
        self.port = 0
        self._server: subprocess.Popen[bytes] | None = None
        self.python = f'exec "{sys._base_executable}" -sS'  # type: ignore[attr-defined]
        self._site = self._small_site()
        self.give_python(f'{self.python} "$@"')

    @property
    def user(self) -> str:
        return getpass.getuser()

    @property
    def address(self) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}"

    def give_python(self, line: str) -> None:
        """Let `python3` on the device be a shell script of this line."""
        script = self.bin / "python3"
        text = f'#!/bin/sh\nexport PYTHONPATH="{self._site}"\n{line}\n'
        script.write_text(text, encoding="utf-8")
        script.chmod(0o755)

    def alter_python(self, change: str) -> None:
        """Let the device's Python be a stand-in: this one, after this program has run in it."""
        # its words are `-c`, our program, and a name for lists of processes
        self.give_python(f"{self.python} -c '{change}; import sys; exec(sys.argv[2])' \"$@\"")

    def trust(self, key: Path) -> None:
        """Let the client take the server for who it is if it shows this key."""
        public = key.with_suffix(".pub").read_text(encoding="utf-8").split()
        entry = f"[127.0.0.1]:{self.port} {public[0]} {public[1]}\n"
        self.known_hosts.write_text(entry, encoding="utf-8")

    def write_client_config(self, key: Path) -> None:
        """Let the client use this key and nothing of the real user's."""
        self.config.write_text(
            f"IdentityFile {key}\nIdentitiesOnly yes\nIdentityAgent none\n"
            f"UserKnownHostsFile {self.known_hosts}\nGlobalKnownHostsFile /dev/null\n"
            "KexAlgorithms curve25519-sha256\n",  # the quickest; a test connects often
            encoding="utf-8",
        )

    def start(self) -> None:
        """Start the server; another process may have taken the port that was free before."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for _ in range(5):
            self.port = free_port()
            self._server = self._launch()
            if self._listens(self._server):
                break
            self._server.wait()
        else:
            raise AssertionError((self.folder / "log").read_text(encoding="utf-8"))
        self.trust(self.host_key)
        self.write_client_config(self.user_key)

    def stop(self) -> None:
        """End the server, its sessions and whatever still runs on the device."""
        assert self._server is not None
        self.cut()
        self._server.terminate()
        self._server.wait()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def cut(self) -> None:
        """Kill the server's processes of every session, as a connection that breaks."""
        assert self._server is not None
        for pid in children_of(self._server.pid):
            if name_of(pid).startswith("sshd"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def processes(self) -> list[int]:
        """What runs on the device, of any session, the server's own processes apart."""
        marker = f"TMKD_DEPLOY_AGENT_HOME={self.agent_home}".encode()
        found = []
        for pid in all_pids():
            with contextlib.suppress(OSError):
                environment = Path(f"/proc/{pid}/environ").read_bytes()
                if marker in environment.split(b"\0"):
                    found.append(pid)
        return found

    def wait_until_idle(self) -> None:
        """Return as soon as nothing runs on the device."""
        wait_until(lambda: not self.processes(), "nothing of ours runs on the device")

    def _small_site(self) -> Path:
        site = self.folder / "site"
        site.mkdir()
        spec = importlib.util.find_spec("numpy")
        assert spec is not None and spec.origin is not None
        installed = Path(spec.origin).parents[1]
        for name in PACKAGES:
            if (installed / name).exists():
                (site / name).symlink_to(installed / name)
        return site

    def _launch(self) -> subprocess.Popen[bytes]:
        assert SSHD is not None
        authorized = self.folder / "authorized_keys"
        shutil.copyfile(self.user_key.with_suffix(".pub"), authorized)
        environment = {
            "PATH": self.bin,
            "HOME": self.home,
            "TMKD_DEPLOY_AGENT_HOME": self.agent_home,
            "TMKD_DEPLOY_LOCK_NAME": f"tmkd-deploy-tests-{os.getpid()}-{self.port}",
        }
        settings = {
            "Port": self.port,
            "ListenAddress": "127.0.0.1",
            "HostKey": self.host_key,
            "AuthorizedKeysFile": authorized,
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PidFile": "none",
            "MaxStartups": "100",
            "SetEnv": " ".join(f"{name}={value}" for name, value in environment.items()),
        }
        config = self.folder / "sshd_config"
        lines = [f"{name} {value}\n" for name, value in settings.items()]
        config.write_text("".join(lines), encoding="utf-8")
        return subprocess.Popen(
            [SSHD, "-D", "-f", str(config), "-E", str(self.folder / "log")],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _listens(self, server: subprocess.Popen[bytes]) -> bool:
        until = time.monotonic() + DEADLINE_SECONDS
        while server.poll() is None and time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return server.poll() is None
            time.sleep(0.01)
        return False


@contextlib.contextmanager
def ssh_device(folder: Path) -> Iterator[SshDevice]:
    """A running device; nothing of it is left afterwards."""
    device = SshDevice(folder)
    device.start()
    try:
        yield device
    finally:
        device.stop()


def make_key(path: Path) -> None:
    """A new key pair without a passphrase."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def all_pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def name_of(pid: int) -> str:
    """The name of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def children_of(pid: int) -> list[int]:
    """All processes below `pid`."""
    parents: dict[int, int] = {}
    for each in all_pids():
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{each}/stat").read_text(encoding="utf-8", errors="replace")
            parents[each] = int(stat.rpartition(")")[2].split()[1])
    found, ahead = [], [pid]
    while ahead:
        parent = ahead.pop()
        below = [each for each, its in parents.items() if its == parent]
        found += below
        ahead += below
    return found


def before_step(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], object]) -> None:
    """Let a channel `act` once, before its `number`th reading or writing from now."""
    step, left = Channel._step, number

    def acting(channel: Channel, outgoing: memoryview, timeout: float) -> int:
        nonlocal left
        left -= 1
        if left == 0:
            act()
        return step(channel, outgoing, timeout)

    monkeypatch.setattr(Channel, "_step", acting)
