"""What only a Jetson has: its releases, its power mode, its accelerators.

What programs print and files hold is read in one function and understood in another, which is
tested on output that others published (tests/unit/agent/test_agent_jetson.py); it was not run on a
Jetson.
"""

from __future__ import annotations

import re
from typing import Any

from tmkd_deploy.agent.shell import first_line, output_of


def l4t() -> str | None:
    """The release of NVIDIA's Linux for Tegra, such as "36.4.3"; None on other machines."""
    return parse_tegra_release(first_line("/etc/nv_tegra_release") or "")


def jetpack() -> str | None:
    """The installed release of JetPack, such as "6.2"; None where its package is not installed."""
    return parse_package_version(
        output_of(["dpkg-query", "--show", "--showformat=${Version}", "nvidia-jetpack"]) or ""
    )


def power_mode() -> dict[str, Any] | None:
    """The power mode, {"id", "name"}; None where there is none or it cannot be asked."""
    # Without root it may complain of settings that it cannot read, after it has answered.
    return parse_power_mode(output_of(["nvpmodel", "-q"], even_if_it_fails=True) or "")


def parse_tegra_release(text: str) -> str | None:
    """The release in the first line of /etc/nv_tegra_release."""
    found = re.match(r"# R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)", text)
    return f"{found.group(1)}.{found.group(2)}" if found else None


def parse_package_version(text: str) -> str | None:
    """The upstream part of a Debian package's version: "4.5.1-b17" and "6.1+b123" to numbers."""
    found = re.match(r"\d+(?:\.\d+)*", text.strip())
    return found.group(0) if found else None


def parse_power_mode(text: str) -> dict[str, Any] | None:
    """The mode in what `nvpmodel -q` prints: its name and, on the next line, its number."""
    found = re.search(r"^NV Power Mode: *(\S+)\s+(\d+)\s*$", text, re.MULTILINE)
    return {"id": int(found.group(2)), "name": found.group(1)} if found else None
