"""Samples a machine's conditions, and its energy where possible, while engines are timed on it.

Samples are taken between turns and between bursts, never during a counted run, so they do not
affect the latencies. The result includes how long a sample takes.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmkd_deploy.agent import shell
from tmkd_deploy.agent.telemetry import conditions, jetson, power

if TYPE_CHECKING:
    from tmkd_deploy.agent.child_processes import ChildProcesses

_SAMPLE_INTERVAL_SECONDS = 0.5


class SystemMonitor:
    """Monitors the machine whose files lie below `root`; `children` runs tegrastats."""

    def __init__(self, root: Path = Path("/"), children: ChildProcesses | None = None) -> None:
        self._root = root
        self._children = children
        self._meter: power.PowerMeter | power.CounterMeter | None = None
        self._tegrastats: power.Tegrastats | None = None
        self._samples: list[dict[str, Any]] = []
        self._last_sample_at = 0.0
        self._seconds = 0.0

    def start(self) -> None:
        """Take the first sample, and find a source of energy readings."""
        self._meter = self._find_meter()
        self._sample()

    def sample(self) -> None:
        """Take a sample, unless the last one is less than half a second old."""
        if time.perf_counter() - self._last_sample_at >= _SAMPLE_INTERVAL_SECONDS:
            self._sample()

    def stop(self) -> dict[str, Any]:
        """Take the last sample.

        Returns:
            The readings `before` and `after`; a Jetson's `power_mode`; the number of `samples` and
            the mean duration of one (`sample_ms`); over all of them, the lowest and highest
            `cpu_hz` and `gpu_hz` and the highest `temperature_c` of each zone; whether the machine
            `throttled`, None if unknown, and by what (`throttle_events`: how often each cause was
            counted, or how many samples saw it active).
        """
        self._sample()
        if self._tegrastats is not None:
            self._tegrastats.stop()
        before, after = self._samples[0], self._samples[-1]
        return {
            "before": before,
            "after": after,
            "power_mode": jetson.power_mode(),
            "samples": len(self._samples),
            "sample_ms": 1000.0 * self._seconds / len(self._samples),
            "cpu_hz": self._range("cpu_hz"),
            "gpu_hz": self._range("gpu_hz"),
            "temperature_c": self._hottest(),
            **throttled(self._samples),
        }

    def start_energy(self) -> None:
        """Start counting energy from zero."""
        if self._meter is not None:
            self._meter.reset()

    def add_energy(self, seconds: float) -> None:
        """Add the energy of the last `seconds`, and take a sample if one is due."""
        if self._meter is not None:
            self._meter.add(seconds)
        self.sample()

    def energy(self) -> dict[str, Any] | None:
        """`joules` since `start_energy` and their `source`; None if energy cannot be read."""
        if self._meter is None:
            return None
        return {"joules": self._meter.joules, "source": self._meter.source}

    def _sample(self) -> None:
        begun = time.perf_counter()
        self._samples.append(conditions.read(self._root))
        self._last_sample_at = time.perf_counter()
        self._seconds += self._last_sample_at - begun

    def _find_meter(self) -> power.PowerMeter | power.CounterMeter | None:
        rails = power.rails_mw(self._root)
        if rails:
            chip = "INA238" if "VIN" in rails else "INA3221"
            return power.PowerMeter(lambda: power.rails_mw(self._root), chip, power.scope(rails))
        packages = power.packages(self._root)
        if packages:
            return power.CounterMeter(packages)
        path = shell.program("tegrastats")
        if path is not None:
            from tmkd_deploy.agent.child_processes import ChildProcesses

            self._tegrastats = power.Tegrastats(path, self._children or ChildProcesses())
            rails = self._tegrastats.rails_mw()
            if rails:
                return power.PowerMeter(self._tegrastats.rails_mw, "tegrastats", power.scope(rails))
        return None

    def _range(self, name: str) -> list[int] | None:
        seen = [reading["clocks"][name] for reading in self._samples]
        known = [value for value in seen if value is not None]
        return [min(known), max(known)] if known else None

    def _hottest(self) -> dict[str, float]:
        hottest: dict[str, float] = {}
        for reading in self._samples:
            for zone, degrees in reading["temperature_c"].items():
                hottest[zone] = max(degrees, hottest.get(zone, degrees))
        return hottest


def throttled(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Whether a machine throttled over a series of readings, and by what."""
    events: dict[str, int] = {}
    first, last = samples[0]["throttle_counts"], samples[-1]["throttle_counts"]
    for cause, count in last.items():
        if count > first.get(cause, 0):
            events[cause] = count - first.get(cause, 0)
    for reading in samples:
        for cause in reading["throttling"] or ():
            events[cause] = events.get(cause, 0) + 1
    known = bool(last) or any(reading["throttling"] is not None for reading in samples)
    return {"throttled": bool(events) if known else None, "throttle_events": events}
