"""The state of a machine: clocks, temperature, throttling, load.

Each function reads files below `root`, which is `/` except in tests; files that cannot be read
count as missing. Sources: the kernel's documentation of cpufreq, devfreq and thermal; for Jetsons,
"Platform Power and Performance" in NVIDIA's Jetson Linux Developer Guide 36.4; for the Raspberry
Pi, the kernel's commit "ARM: bcm2835: Add GET_THROTTLED firmware property".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tmkd_deploy.agent.telemetry.power import rails_mw
from tmkd_deploy.agent.telemetry.system_files import number, text

_INTEGRATED_GPUS = ("gpu", "ga10b", "gv11b", "gp10b", "gm20b")
# Cooling devices that slow the machine down (not fans); active while `cur_state` is above 0.
_SLOWS_DOWN = re.compile(r"cpu|gpu|devfreq|throttle|Processor", re.IGNORECASE)
_PI_NOW = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}


def current(root: Path = Path("/")) -> dict[str, Any]:
    """The part of the device info that changes: `clocks`, `temperature_c`, whether the machine is
    `throttled` now (None if unknown), and the names of the readable `power_rails`."""
    slowed = throttling(root)
    return {
        "clocks": clocks(root),
        "temperature_c": temperature_c(root),
        "throttled": None if slowed is None else bool(slowed),
        "power_rails": sorted(rails_mw(root)),
    }


def read(root: Path) -> dict[str, Any]:
    """One reading of everything, as JSON values.

    `throttle_counts` counts events since boot; `throttling` names what slows the machine down now,
    or is None if that is unknown.
    """
    return {
        "clocks": clocks(root),
        "temperature_c": temperature_c(root),
        "throttle_counts": throttle_counts(root),
        "throttling": throttling(root),
        "load": load(root),
    }


def clocks(root: Path) -> dict[str, Any]:
    """Whether the clocks are `locked`, the `governor`, and the fastest `cpu_hz` and `gpu_hz`.

    Clocks are locked if every CPU policy, and an integrated GPU, has its minimum frequency set to
    its maximum, as jetson_clocks does. A policy that cannot be read is that of a cluster that is
    offline (EBUSY), as in a power mode with fewer cores, and has no clock. Any value may be None.
    """
    policies = sorted(root.glob("sys/devices/system/cpu/cpufreq/policy*"))
    gpus = [
        device
        for device in sorted(root.glob("sys/class/devfreq/*"))
        if any(name in device.name for name in _INTEGRATED_GPUS)
    ]
    ends = [
        (number(policy / "scaling_min_freq"), number(policy / "scaling_max_freq"))
        for policy in policies
    ]
    ends = [pair for pair in ends if None not in pair]
    online = bool(ends)
    ends += [(number(gpu / "min_freq"), number(gpu / "max_freq")) for gpu in gpus]
    known = online and not any(None in pair for pair in ends)
    governors = {text(policy / "scaling_governor") for policy in policies} - {None}
    return {
        "locked": all(least == most for least, most in ends) if known else None,
        "governor": ", ".join(sorted(str(name) for name in governors)) or None,
        "cpu_hz": _fastest([policy / "scaling_cur_freq" for policy in policies], 1000),
        "gpu_hz": _fastest([gpu / "cur_freq" for gpu in gpus], 1),
    }


def temperature_c(root: Path) -> dict[str, float]:
    """Degrees Celsius by thermal zone, without zones that are switched off."""
    found = {}
    for zone in root.glob("sys/class/thermal/thermal_zone*"):
        name, milli = text(zone / "type"), number(zone / "temp")
        # Jetsons report -256 degrees for unpowered zones
        if name and milli is not None and milli > -100_000:
            found[name] = milli / 1000.0
    return found


def throttle_counts(root: Path) -> dict[str, int]:
    """How often each cause throttled the machine since boot; empty if nothing is counted.

    Orin and Thor count under-voltage (oc1) and over-current, average (oc2) and instantaneous (oc3);
    x86 processors count how often a core or a package overheated.
    """
    found: dict[str, int] = {}
    for monitor in root.glob("sys/class/hwmon/hwmon*"):
        if text(monitor / "name") == "soctherm_oc":
            for path in monitor.glob("oc*_event_cnt"):
                _add(found, path.name.split("_")[0], number(path))
    for core in root.glob("sys/devices/system/cpu/cpu[0-9]*/thermal_throttle"):
        for name in ("core_throttle_count", "package_throttle_count"):
            _add(found, name, number(core / name))
    return found


def throttling(root: Path) -> list[str] | None:
    """What slows the machine down now; None if that is unknown."""
    known = False
    now: list[str] = []
    for device in root.glob("sys/class/thermal/cooling_device*"):
        name, state = text(device / "type"), number(device / "cur_state")
        if name and state is not None and _SLOWS_DOWN.search(name):
            known = True
            if state > 0:
                now.append(name)
    for path in root.glob("sys/devices/platform/soc*/*firmware/get_throttled"):
        word = text(path)
        if word is not None:
            known = True
            bits = int(word, 16)
            now += [name for bit, name in _PI_NOW.items() if bits >> bit & 1]
    return sorted(now) if known else None


def load(root: Path) -> float | None:
    """The load average over the last minute."""
    words = (text(root / "proc/loadavg") or "").split()
    return float(words[0]) if words else None


def _fastest(paths: list[Path], unit: int) -> int | None:
    found = [value * unit for value in map(number, paths) if value is not None]
    return max(found) if found else None


def _add(counts: dict[str, int], name: str, more: int | None) -> None:
    if more is not None:
        counts[name] = counts.get(name, 0) + more
