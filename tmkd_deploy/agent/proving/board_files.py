"""The `board_files` request: what the board says of itself, as text, to compare parsed values with.

Where the files are: NVIDIA's Jetson Linux Developer Guide, "Platform Power and Performance".
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmkd_deploy.agent.shell import output_of, program
from tmkd_deploy.agent.telemetry.system_files import text

if TYPE_CHECKING:
    from tmkd_deploy.agent.transport.context import Context

_MODE = re.compile(r"^\s*<\s*POWER_MODEL\b.*$", re.MULTILINE)
_MOST_LINES = 20
_LONGEST_LINE = 200


def board_files(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """Lines of text, at most 20 of each; empty where a file or program is missing.

    Returns:
        `nvpmodel`: what `nvpmodel -q` prints without root; `modes`: the lines of
        /etc/nvpmodel.conf that name a power mode; `release`: /etc/nv_tegra_release;
        `compatible`: the device tree's entries; `has_nvidia_smi`; `is_root`, of this account.
    """
    return {
        "nvpmodel": _lines(output_of(["nvpmodel", "-q"], accept_failure=True)),
        "modes": _lines("\n".join(_MODE.findall(text(Path("/etc/nvpmodel.conf")) or ""))),
        "release": _lines(text(Path("/etc/nv_tegra_release"))),
        "compatible": _lines(
            (text(Path("/proc/device-tree/compatible")) or "").replace("\0", "\n")
        ),
        "has_nvidia_smi": program("nvidia-smi") is not None,
        "is_root": os.geteuid() == 0,
    }


def _lines(content: str | None) -> list[str]:
    lines = (line.strip()[:_LONGEST_LINE] for line in (content or "").splitlines())
    return [line for line in lines if line][:_MOST_LINES]
