"""Starting the agent through the user's OpenSSH client, with its configuration and keys."""

from __future__ import annotations

import os
import re

from tmkd_deploy.devices.address import SshAddress
from tmkd_deploy.devices.payload import LOADER, PROCESS_NAME
from tmkd_deploy.devices.routes import DeviceUnreachable, agent_exited, agent_killed, last_line
from tmkd_deploy.errors import EnvironmentProblem

CONFIGURATION = "TMKD_DEPLOY_SSH_CONFIG"
CONNECT_SECONDS = 10

_CONNECTION_ENDED = 255  # also if a signal ended the remote process; ssh then prints nothing
_NO_PYTHON = {126, 127}
_KILLED = 128 + 9
# Strict, because the advice repeats them for the user to run, and a device may print the like.
_NEW_KEY = re.compile(r"No ([A-Za-z0-9-]+) host key is known for (\S+) and you have requested")
_CHANGED = "REMOTE HOST IDENTIFICATION HAS CHANGED"
_OFFENDING = re.compile(r"Offending .*?key.* in (.+:\d+)")
_REMOVE = re.compile(r"""^\s*(ssh-keygen -f "[\w /.~+@-]+" -R "[\w.:%\[\]-]+")\s*$""", re.MULTILINE)
_REFUSED = re.compile(r"^(\S+): Permission denied \((.+)\)", re.MULTILINE)
_LOST = re.compile(
    r"^(?:Connection (?:to|closed|reset)|Timeout, server|client_loop|Read from remote host"
    r"|ssh_dispatch_run_fatal|Received disconnect|Disconnected from|.*Broken pipe)",
    re.MULTILINE,
)


class SshRoute:
    """A device behind SSH.

    Of what the user writes, only the path of a Python becomes part of the remote command line; it
    holds nothing that a shell interprets (see `address`).
    """

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
            "LogLevel=INFO",  # `explain` parses ssh's messages, which a lower level would hide
        ]
        command = ["ssh", "-T", *(word for option in options for word in ("-o", option))]
        if configuration := os.environ.get(CONFIGURATION):
            command += ["-F", configuration]
        return [*command, *self._destination(), "--", self._remote()]

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

    def _remote(self) -> str:
        return f"{self._python} -c '{LOADER}' {PROCESS_NAME}"

    @property
    def _python(self) -> str:
        return self._address.python or "python3"

    @property
    def _where(self) -> str:
        return str(self._address)

    def _destination(self) -> list[str]:
        """The arguments that name the device to ssh."""
        user = f"{self._address.user}@" if self._address.user else ""
        port = ["-p", str(self._address.port)] if self._address.port else []
        return [*port, user + self._address.host]

    def _no_python(self, stderr: str) -> EnvironmentProblem:
        return EnvironmentProblem(
            f'The device cannot run {self._python}: "{last_line(stderr)}".',
            where=self._where,
            advice="Correct the path after 'python=' in the address."
            if self._address.python
            else "Install Python 3.8 or newer there: sudo apt-get install python3",
        )

    def _lost(self, stderr: str) -> DeviceUnreachable:
        return DeviceUnreachable(
            f'The connection to the device was lost: "{last_line(stderr)}".',
            where=self._where,
            advice="Check the network and that the device is still on, then run again; finished "
            "stages are kept.",
        )

    def _not_connected(self, stderr: str) -> EnvironmentProblem:
        if _CHANGED in stderr:
            return self._changed_key(stderr)
        if match := _NEW_KEY.search(stderr):
            return self._unknown_key(match)
        if match := _REFUSED.search(stderr):
            return self._refused(match)
        return self._unreachable(stderr)

    def _ssh(self) -> str:
        return " ".join(["ssh", *self._destination()])

    def _unknown_key(self, match: re.Match[str]) -> EnvironmentProblem:
        kind, host = match.groups()
        return EnvironmentProblem(
            f"The device's {kind} host key is not known here, so its identity is unproven.",
            where=f"{self._where}, {host}",
            advice=f"Read its fingerprint on the device itself, with `ssh-keygen -lf "
            f"/etc/ssh/ssh_host_{kind.lower()}_key.pub`. Then run `{self._ssh()}` here once, "
            "compare the fingerprint that it shows, and answer yes only if they match.",
        )

    def _changed_key(self, stderr: str) -> EnvironmentProblem:
        match = _OFFENDING.search(stderr)
        line = match[1] if match else "your known_hosts file"
        remove = _REMOVE.search(stderr)
        return EnvironmentProblem(
            "The device's host key differs from the known one. This may be an attack by a machine "
            "in between, or the device was reinstalled.",
            where=f"{self._where}, {line}",
            advice="Ask whoever set the device up. Only if the change is expected, remove the old "
            f"key with `{remove[1] if remove else 'ssh-keygen -R'}`, run `{self._ssh()}` once "
            "and compare the fingerprint with the device's own.",
        )

    def _refused(self, match: re.Match[str]) -> EnvironmentProblem:
        who, methods = match.groups()
        return EnvironmentProblem(
            f"The device refused the login of {who} (it accepts: {methods}).",
            where=self._where,
            advice="Check the user's name. If it is right, install your public key there with "
            f"`ssh-copy-id {' '.join(self._destination())}`; `{self._ssh()}` must work without "
            "a prompt (a key with a passphrase needs `ssh-add`).",
        )

    def _unreachable(self, stderr: str) -> DeviceUnreachable:
        return DeviceUnreachable(
            f'The device cannot be reached; ssh printed "{last_line(stderr) or "nothing"}".',
            where=self._where,
            advice=f"Check that it is on and the address is right; `{self._ssh()}` must work.",
        )
