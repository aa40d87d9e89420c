"""Energy, on machines that report their power.

The sources, in order of preference: the INA3221 and INA238 monitors of a Jetson through hwmon; the
counters of an x86 processor through powercap (RAPL); tegrastats on a Jetson without those monitors
in sysfs.
Idle power is not subtracted: the figures cover everything on the rail.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from tmkd_deploy.agent.telemetry.system_files import number, text

if TYPE_CHECKING:
    from tmkd_deploy.agent.child_processes import ChildProcesses

# Rails that feed the whole module or, on Thor, the whole board; the other rails are parts of it.
_WHOLE = {
    "VIN": "the board's input VIN",
    "VDD_IN": "the module's input VDD_IN",
    "POM_5V_IN": "the module's input POM_5V_IN",
    "5V_IN": "the module's input 5V_IN",
}
# the value now, the average and, on newer releases, a third
_RAIL = re.compile(r"(?<!\S)([A-Z0-9]\w*) (\d+)(?:mW)?(?:/\d+(?:mW)?)+(?!\S)")
_MILLISECONDS_BETWEEN_LINES = 250


def rails_mw(root: Path) -> dict[str, float]:
    """Milliwatts by rail from the INA3221 and INA238 monitors; empty if there are none.

    On Thor, an INA238 measures the board's input, VIN:
    https://github.com/rbonghi/jetson_stats/pull/900.
    """
    found = {}
    for monitor in root.glob("sys/class/hwmon/hwmon*"):
        kind = text(monitor / "name")
        microwatts = number(monitor / "power1_input") if kind == "ina238" else None
        if microwatts is not None:
            rail = text(monitor / "label") or text(monitor / "in1_label") or "VIN"
            found[rail] = microwatts / 1000.0
        if kind != "ina3221":
            continue
        for channel in (1, 2, 3):
            label = text(monitor / f"in{channel}_label")
            millivolts = number(monitor / f"in{channel}_input")
            milliamperes = number(monitor / f"curr{channel}_input")
            if label and label != "NC" and millivolts is not None and milliamperes is not None:
                found[label] = millivolts * milliamperes / 1000.0
    return found


def tegrastats_mw(line: str) -> dict[str, float]:
    """Milliwatts by rail from a line of tegrastats: the current values, not the averages."""
    return {name: float(now) for name, now in _RAIL.findall(line) if name != "NC"}


def total_mw(rails: dict[str, float]) -> float:
    """The power of the rail that feeds everything else or, without one, the sum of all rails."""
    for name in _WHOLE:
        if name in rails:
            return rails[name]
    return sum(rails.values())


def scope(rails: dict[str, float]) -> str:
    """What `total_mw` measures, in words."""
    for name, words in _WHOLE.items():
        if name in rails:
            return words
    return "the sum of the rails " + ", ".join(sorted(rails))


class PowerMeter:
    """Energy from repeated readings of the power; `rails` returns milliwatts by rail."""

    def __init__(self, rails: Callable[[], dict[str, float]], what: str, scope: str) -> None:
        self.source = f"{scope} ({what})"
        self._rails = rails
        self._before = 0.0
        self.joules = 0.0

    def reset(self) -> None:
        """Reset to zero."""
        self.joules = 0.0
        self._before = total_mw(self._rails())

    def add(self, seconds: float) -> None:
        """Add the energy of the `seconds` since the last reading, at the mean of both readings."""
        now = total_mw(self._rails())
        self.joules += (self._before + now) / 2 / 1000.0 * seconds
        self._before = now


class CounterMeter:
    """Energy from the processor packages' counters of microjoules, which wrap around."""

    def __init__(self, packages: list[Path]) -> None:
        self.source = "the processor's packages (RAPL)"
        self._packages = packages
        self._before: list[int] = []
        self.joules = 0.0

    def reset(self) -> None:
        """Reset to zero."""
        self.joules = 0.0
        self._before = self._read()

    def add(self, seconds: float) -> None:
        """Add what the counters gained since the last reading."""
        now = self._read()
        for package, earlier, later in zip(self._packages, self._before, now):
            wrap = number(package / "max_energy_range_uj") or 0
            self.joules += (later - earlier + (wrap if later < earlier else 0)) / 1e6
        self._before = now

    def _read(self) -> list[int]:
        return [number(package / "energy_uj") or 0 for package in self._packages]


class Tegrastats:
    """A running tegrastats, and the last line it printed."""

    def __init__(self, path: str, children: ChildProcesses) -> None:
        self._children = children
        self._process = children.start([path, "--interval", str(_MILLISECONDS_BETWEEN_LINES)])
        self._last: dict[str, float] = {}
        self._first_line = threading.Event()
        threading.Thread(target=self._follow, daemon=True).start()
        self._first_line.wait(timeout=3.0)

    def rails_mw(self) -> dict[str, float]:
        """Milliwatts by rail, as last printed; empty if it prints none."""
        return self._last

    def stop(self) -> None:
        """End the program."""
        self._children.end(self._process)

    def _follow(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._last = tegrastats_mw(line) or self._last
            self._first_line.set()
        self._first_line.set()


def packages(root: Path) -> list[Path]:
    """The powercap zones of processor packages with readable counters."""
    return [
        zone
        for zone in sorted(root.glob("sys/class/powercap/intel-rapl:*"))
        if (text(zone / "name") or "").startswith("package")
        and number(zone / "energy_uj") is not None
    ]
