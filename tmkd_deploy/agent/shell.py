"""Running short system programs, any of which may be missing."""

from __future__ import annotations

import os
import shutil
import subprocess

from tmkd_deploy.agent.child_processes import die_with_agent

_TIMEOUT_SECONDS = 30.0
# Folders with programs that the PATH of a non-interactive login may lack.
_FOLDERS = ("/usr/sbin", "/sbin", "/usr/local/cuda/bin", "/usr/src/tensorrt/bin")


def program(name: str) -> str | None:
    """The path of a program; None if it is not installed."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *_FOLDERS]))


def output_of(
    argv: list[str], accept_failure: bool = False, timeout_s: float = _TIMEOUT_SECONDS
) -> str | None:
    """What a program prints on both streams; None if it is missing, fails or hangs."""
    path = program(argv[0])
    if path is None:
        return None
    try:
        completed = subprocess.run(
            [path, *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            preexec_fn=die_with_agent,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return completed.stdout if completed.returncode == 0 or accept_failure else None
