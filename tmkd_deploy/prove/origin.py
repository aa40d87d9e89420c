"""Where a proof comes from: the package, what was sent to the device, and the device itself."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tmkd_deploy
from tmkd_deploy.devices.payload import agent_zip
from tmkd_deploy.engines.device_build import tensorrt_release
from tmkd_deploy.prove.checks.board import MODULE
from tmkd_deploy.prove.checks.devices import is_emulated
from tmkd_deploy.prove.proof import Board, State, board_name
from tmkd_deploy.prove.workbench import Workbench

_GIT_SECONDS = 10.0


def commit() -> str | None:
    """The commit of the checkout that this package runs from; None if it is not one.

    It ends in "-dirty" if files differ from that commit.
    """
    folder, git = Path(tmkd_deploy.__file__).parents[1], shutil.which("git")
    if git is None or not (folder / ".git").exists():
        return None
    head = _output([git, "-C", str(folder), "rev-parse", "HEAD"])
    if not head:
        return None
    changes = _output([git, "-C", str(folder), "status", "--porcelain", "--", "tmkd_deploy"])
    return f"{head}-dirty" if changes else head


def agent_sha256() -> str:
    """The SHA-256 of the program that was sent to the device."""
    return hashlib.sha256(agent_zip()).hexdigest()


def board(bench: Workbench) -> Board:
    """The device and its software."""
    info = bench.info
    gpu = info["gpu"] or {}
    profile = bench.profile.name if bench.profile else None
    modules = [each for entry in info["compatible"] for each in MODULE.findall(entry)]
    alike = ("model", "machine", "processor", "jetpack", "l4t", "onnxruntime", "cuda", "driver")
    return Board(
        name=board_name(info["model"], info["machine"], profile, is_emulated(bench)),
        modules=list(dict.fromkeys(modules)),
        profile=profile,
        gpu=f"{gpu['name']}, SM{gpu['sm']}" if gpu else None,
        tensorrt=tensorrt_release(info),
        **{name: info[name] for name in (*alike, "system", "kernel", "python")},
    )


def state(info: Mapping[str, Any]) -> State:
    """What must not change, from the device info."""
    mode, clocks = info["power_mode"], info["clocks"] or {}
    return State(
        power_mode=f"{mode['name']} ({mode['id']})" if mode else None,
        clocks_locked=clocks.get("locked"),
        governor=clocks.get("governor"),
    )


def _output(argv: list[str]) -> str:
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
