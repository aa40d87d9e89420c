"""How a recipe or a command names a device: `local`, or `ssh://user@host:port?python=PATH`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tmkd_deploy.errors import RequestError

# The first character cannot start an option of ssh; hosts may be aliases of ~/.ssh/config.
_USER = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_HOST = r"[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]"
_HOST_AND_PORT = rf"(?:(?P<user>{_USER})@)?(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?"
# Part of a command line that the device's shell parses, so nothing that means anything to a shell.
_PYTHON = r"/[A-Za-z0-9_./+-]*[A-Za-z0-9_+-]"
_SSH = re.compile(rf"ssh://{_HOST_AND_PORT}/?(?:\?python=(?P<python>{_PYTHON}))?")
_LENIENT = re.compile(rf"(?:ssh:/{{0,3}})?{_HOST_AND_PORT}/?", re.IGNORECASE)


@dataclass(frozen=True)
class LocalAddress:
    """This machine."""

    def __str__(self) -> str:
        return "local"


@dataclass(frozen=True)
class SshAddress:
    """A machine reached over SSH; OpenSSH's configuration supplies a missing user or port.

    `python` is the absolute path of the interpreter there; without one it is `python3`.
    """

    host: str
    user: str | None = None
    port: int | None = None
    python: str | None = None

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        python = f"?python={self.python}" if self.python else ""
        return f"ssh://{user}{host}{port}{python}"


_LONGEST = 300  # a host's name has at most 253 characters
Address = LocalAddress | SshAddress


def parse(text: str) -> Address:
    """Parse an address.

    Raises:
        RequestError: `text` is neither `local` nor `ssh://[user@]host[:port][?python=PATH]`.
    """
    if text == "local":
        return LocalAddress()
    match = _SSH.fullmatch(text)
    if match is not None:
        address = _from(match)
        if address.port is None or 1 <= address.port <= 65535:
            return address
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}…"
    raise RequestError(f"{text!r} is not a device address.", where="device", advice=_advice(text))


def _from(match: re.Match[str]) -> SshAddress:
    port = match["port"]
    python = match.groupdict().get("python")
    return SshAddress(match["host"].strip("[]"), match["user"], int(port) if port else None, python)


def _advice(text: str) -> str:
    if text.strip().lower() == "local":
        return 'Did you mean "local"?'
    meant = _LENIENT.fullmatch(text.strip())
    if meant is not None:
        address = _from(meant)
        if address.port is None or 1 <= address.port <= 65535:
            return f'Did you mean "{address}"?'
        return "A port is a number from 1 to 65535."
    return (
        'Write "local" for this machine, or "ssh://user@host" or "ssh://user@host:port"; '
        '"?python=/absolute/path" after it names the Python to use there.'
    )
