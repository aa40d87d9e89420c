"""Shell completion, as bash asks for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def completed(line: str) -> list[str]:
    """What may stand where the last word of `line` has begun."""
    done = subprocess.run(
        [sys.executable, "-m", "tmkd_deploy"],
        env={
            **os.environ,
            "_TMKD_DEPLOY_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split()) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tmkd-deploy di", ["distill"]),
        ("tmkd-deploy bundle v", ["verify"]),
        ("tmkd-deploy run --dry", ["--dry-run"]),
        ("tmkd-deploy export --target jetson-orin-na", ["jetson-orin-nano"]),
        ("tmkd-deploy nothing-begins-like-this", []),
    ],
)
def test_commands_options_and_targets_are_completed(line: str, words: list[str]) -> None:
    assert completed(line) == words
