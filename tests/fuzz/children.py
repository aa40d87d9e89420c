"""Runs a program that may hang or take all memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def in_child(program: str, *arguments: str, seconds: float = 30.0) -> tuple[int, str, str]:
    """Run `program` with bounded memory; a hang is exit code -9."""
    preamble = (
        f"import resource; resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, 4 << 30))\n"
        f"FUZZ = {str(Path(__file__).parent)!r}\n"
    )
    words = [sys.executable, "-c", preamble + program, *arguments]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            return -9, out, "it hangs"
    return process.returncode, out, err
