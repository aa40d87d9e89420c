"""What only a Jetson reports: its software releases and its power mode.

Reading and parsing are separate. The parsers are tested on published output
(tests/unit/agent/test_agent_parsers.py); the programs are untested on a real Jetson.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tmkd_deploy.agent.shell import output_of
from tmkd_deploy.agent.telemetry.system_files import first_line


def l4t() -> str | None:
    """The release of NVIDIA's Linux for Tegra, such as "36.4.3"; None on other machines."""
    return parse_tegra_release(first_line(Path("/etc/nv_tegra_release")) or "")


def jetpack() -> str | None:
    """The installed release of JetPack, such as "6.2"; None where its package is not installed."""
    return parse_package_version(
        output_of(["dpkg-query", "--show", "--showformat=${Version}", "nvidia-jetpack"]) or ""
    )


def power_mode() -> dict[str, Any] | None:
    """The power mode, {"id", "name"}; None if there is none or it cannot be read."""
    # Without root it may fail on other settings after it has printed the mode.
    return parse_power_mode(output_of(["nvpmodel", "-q"], accept_failure=True) or "")


def parse_tegra_release(text: str) -> str | None:
    """The release in the first line of /etc/nv_tegra_release."""
    found = re.match(r"# R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)", text)
    return f"{found.group(1)}.{found.group(2)}" if found else None


def parse_package_version(text: str) -> str | None:
    """The upstream version of a Debian package: 4.5.1 of "4.5.1-b17", 6.1 of "6.1+b123"."""
    found = re.match(r"\d+(?:\.\d+)*", text.strip())
    return found.group(0) if found else None


def parse_power_mode(text: str) -> dict[str, Any] | None:
    """The mode that `nvpmodel -q` prints: its name and, on the next line, its number."""
    found = re.search(r"^NV Power Mode: *(\S+)\s+(\d+)\s*$", text, re.MULTILINE)
    return {"id": int(found.group(2)), "name": found.group(1)} if found else None
