"""Reading a file or asking a program, where either may be missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tmkd_deploy.agent.child_processes import die_with_agent

_SECONDS = 30.0
# where programs lie that a login without a terminal does not always find
_FOLDERS = ("/usr/sbin", "/sbin", "/usr/local/cuda/bin", "/usr/src/tensorrt/bin")


def first_line(path: str) -> str | None:
    """The first line of a file, without NUL bytes; None if it is empty or cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.strip("\0\n ").partition("\n")[0].strip() or None


def program(name: str) -> str | None:
    """Where a program lies."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *_FOLDERS]))


def output_of(argv: list[str], even_if_it_fails: bool = False) -> str | None:
    """What a program prints, both streams in one; None if it is missing, fails or hangs."""
    found = program(argv[0])
    if found is None:
        return None
    try:
        done = subprocess.run(
            [found, *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            preexec_fn=die_with_agent,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 or even_if_it_fails else None
