"""The agent behind the user's own OpenSSH client, with its configuration, keys and known hosts."""

from __future__ import annotations

import os
import re

from tmkd_deploy.devices.address import SshAddress
from tmkd_deploy.devices.payload import LOADER, PROCESS_NAME
from tmkd_deploy.devices.routes import DeviceUnreachable, agent_exited, agent_killed, last_line
from tmkd_deploy.errors import EnvironmentProblem

CONFIGURATION = "TMKD_DEPLOY_SSH_CONFIG"
CONNECT_SECONDS = 10

_REMOTE = f"python3 -c '{LOADER}' {PROCESS_NAME}"
_CONNECTION_ENDED = 255  # also if the far process was ended by a signal: ssh then says nothing
_NO_PYTHON = {126, 127}
_KILLED = 128 + 9
_NEW_KEY = re.compile(r"No (\S+) host key is known for (.+?) and you have requested")
_CHANGED = "REMOTE HOST IDENTIFICATION HAS CHANGED"
_OFFENDING = re.compile(r"Offending .*?key.* in (.+:\d+)")
_REMOVE = re.compile(r"ssh-keygen -f .+ -R .+")
_REFUSED = re.compile(r"^(\S+): Permission denied \((.+)\)", re.MULTILINE)
_LOST = re.compile(
    r"^(?:Connection (?:to|closed|reset)|Timeout, server|client_loop|Read from remote host"
    r"|ssh_dispatch_run_fatal|Received disconnect|Disconnected from|.*Broken pipe)",
    re.MULTILINE,
)


class SshRoute:
    """A device behind SSH. Nothing of what we send is ever part of the command line there."""

    def __init__(self, address: SshAddress) -> None:
        self._address = address

    def command(self) -> list[str]:
        """See `Route`."""
        options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            f"ConnectTimeout={CONNECT_SECONDS}",
            "ServerAliveInterval=5",
            "ServerAliveCountMax=3",
            "LogLevel=INFO",  # `explain` reads what ssh says, which a quieter one would not say
        ]
        command = ["ssh", "-T", *(word for option in options for word in ("-o", option))]
        if configuration := os.environ.get(CONFIGURATION):
            command += ["-F", configuration]
        return [*command, *self._destination(), "--", _REMOTE]

    def explain(self, code: int, stderr: str, *, greeted: bool) -> EnvironmentProblem:
        """See `Route`."""
        if code in _NO_PYTHON:
            return self._no_python(stderr)
        if code == _CONNECTION_ENDED and not greeted:
            return self._not_connected(stderr)
        if code == _CONNECTION_ENDED and _LOST.search(stderr):
            return self._lost(stderr)
        if code in {_CONNECTION_ENDED, _KILLED}:
            return agent_killed(self._where)
        return agent_exited(self._where, code, stderr)

    @property
    def _where(self) -> str:
        return str(self._address)

    def _destination(self) -> list[str]:
        """The words that name the device to ssh."""
        user = f"{self._address.user}@" if self._address.user else ""
        port = ["-p", str(self._address.port)] if self._address.port else []
        return [*port, user + self._address.host]

    def _no_python(self, stderr: str) -> EnvironmentProblem:
        return EnvironmentProblem(
            f'The device cannot run python3; it said "{last_line(stderr)}".',
            where=self._where,
            advice="Install Python 3.8 or newer there: sudo apt-get install python3",
        )

    def _lost(self, stderr: str) -> DeviceUnreachable:
        return DeviceUnreachable(
            f'The connection to the device was lost: "{last_line(stderr)}".',
            where=self._where,
            advice="Check the network and that the device is still on, then run again; what is "
            "done is kept.",
        )

    def _not_connected(self, stderr: str) -> EnvironmentProblem:
        if _CHANGED in stderr:
            return self._changed_key(stderr)
        if match := _NEW_KEY.search(stderr):
            return self._unknown_key(match)
        if match := _REFUSED.search(stderr):
            return self._refused(match)
        return self._unreachable(stderr)

    def _by_hand(self) -> str:
        return " ".join(["ssh", *self._destination()])

    def _unknown_key(self, match: re.Match[str]) -> EnvironmentProblem:
        kind, host = match.groups()
        return EnvironmentProblem(
            f"The device's {kind} host key is not known here, so this may be any machine.",
            where=f"{self._where}, {host}",
            advice=f"Read its fingerprint on the device itself, with `ssh-keygen -lf "
            f"/etc/ssh/ssh_host_{kind.lower()}_key.pub`. Then run `{self._by_hand()}` here once, "
            "compare the fingerprint that it shows, and answer yes only if they are the same.",
        )

    def _changed_key(self, stderr: str) -> EnvironmentProblem:
        match = _OFFENDING.search(stderr)
        line = match[1] if match else "your known_hosts file"
        remove = _REMOVE.search(stderr)
        return EnvironmentProblem(
            "The device's host key is not the one known here. This may be an attack by a machine "
            "in between, or the device was installed anew.",
            where=f"{self._where}, {line}",
            advice="Ask whoever set the device up. Only if the change is expected, remove the old "
            f"key with `{remove[0] if remove else 'ssh-keygen -R'}`, run `{self._by_hand()}` once "
            "and compare the fingerprint with the device's own.",
        )

    def _refused(self, match: re.Match[str]) -> EnvironmentProblem:
        who, methods = match.groups()
        return EnvironmentProblem(
            f"The device refused to let {who} in (it takes: {methods}).",
            where=self._where,
            advice="Check the user's name. If it is right, put your public key there with "
            f"`ssh-copy-id {' '.join(self._destination())}`; `{self._by_hand()}` must work without "
            "a question (a key with a passphrase needs `ssh-add`).",
        )

    def _unreachable(self, stderr: str) -> DeviceUnreachable:
        return DeviceUnreachable(
            f'The device cannot be reached: ssh said "{last_line(stderr) or "nothing"}".',
            where=self._where,
            advice=f"Check that it is on and its address right; `{self._by_hand()}` must work.",
        )
