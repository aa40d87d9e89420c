"""Two thousand hostile inputs, the same in every run; `make fuzz` runs many more."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzed import agent_replies
from fuzzed.recipes import RECIPE
from fuzzed.targets import TARGETS, missing
from harness import fuzz
from invariants import of_command

from tmkd_deploy.errors import DataError

CASES = 2000
SHARES = sum(target.share for target in TARGETS.values())


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_input_is_refused_in_the_documented_way(name: str) -> None:
    target = TARGETS[name]
    if lacking := missing(target):
        pytest.skip(f"{', '.join(lacking)} is not installed")
    cases = max(20, round(CASES * target.share / SHARES))
    outcome = fuzz(target, cases, seed=None)
    found = outcome.found
    assert outcome.cases >= cases / 2  # hypothesis stops early where there are few different ones
    assert not found, "\n".join(str(each) for each in found.values())


@pytest.mark.parametrize("task", agent_replies.TASKS)
def test_a_sound_device_is_believed(tmp_path: Path, task: str) -> None:
    """What the cases are made from is accepted, so that it is the changes that are tested."""
    lines = [json.dumps(each, separators=(",", ":")) for each in agent_replies.script(task)]
    case = task, "\n".join([*lines, ""]).encode()
    (attempt,) = TARGETS["agent replies"].attempts(case, tmp_path)
    with pytest.raises(DataError) if task == "refused" else contextlib.nullcontext():
        attempt()


@pytest.mark.parametrize(
    "arguments",
    [
        ("recipe", "upgrade", "--check", "FILE"),
        ("bundle", "verify", "FILE"),
        ("bundle", "show", "--json", "FILE"),
        ("compare", "FILE", "FILE"),
        ("recipe", "check", "--set", "\x1b[2J=1", "FILE"),
        ("targets", "show", "\x1b[2J"),
        ("doctor", "--device=ssh://-oProxyCommand=id"),
        ("\x1b]52;c;cm0gLXJm\x07",),
    ],
    ids=lambda arguments: " ".join(arguments[:2]) if arguments[0].isascii() else "noise",
)
def test_the_same_holds_of_a_real_process(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    file = tmp_path / "input"
    file.write_text(json.dumps(RECIPE | {"\x1b[2J": float("nan"), "name": "\u202e"}))
    words = [str(file) if word == "FILE" else word for word in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "tmkd_deploy", *words],
        cwd=tmp_path,
        capture_output=True,
        timeout=300,
        check=False,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode in (2, 5), err
    found = of_command(done.returncode, out, err, as_json="--json" in arguments)
    assert not found, found
    assert [path.name for path in tmp_path.iterdir()] == ["input"]
