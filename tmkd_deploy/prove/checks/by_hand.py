"""Claims that need somebody at the board; what can be read without them is noted."""

from __future__ import annotations

from tmkd_deploy.prove.outcome import Evidence, NotRun
from tmkd_deploy.prove.workbench import Workbench
from tmkd_deploy.targets import device_checks

_BY_HAND = "This needs somebody at the board"


def flash(bench: Workbench, evidence: Evidence) -> None:
    """Nothing tells how a board was flashed."""
    findings = device_checks.findings(bench.info, bench.profile)
    evidence.quote(f"{each.state}: {each.subject}: {each.found}" for each in findings)
    raise NotRun(f"{_BY_HAND}: flash it, then see that doctor finds no error.")


def gpu_group(bench: Workbench, evidence: Evidence) -> None:
    """It takes an account outside of the group."""
    denied = bench.info["gpu_denied"]
    evidence.add(denied=denied["path"] if denied else None)
    raise NotRun(f"{_BY_HAND}: use an account outside of the group video, then add it.")


def clocks(bench: Workbench, evidence: Evidence) -> None:
    """Locking clocks takes root, and changes the device."""
    now = bench.info["clocks"] or {}
    evidence.add(locked=now.get("locked"), governor=now.get("governor"))
    raise NotRun(f"{_BY_HAND}: compare doctor before and after sudo jetson_clocks.")


def memory(bench: Workbench, evidence: Evidence) -> None:
    """Filling a board's memory may end other programs on it."""
    evidence.add(memory_free_mb=bench.info["memory_free_mb"])
    raise NotRun(f"{_BY_HAND}: hold nearly all memory with a program of theirs, then export.")
