"""Claims about what is read while engines run: power and heat."""

from __future__ import annotations

import statistics

from tmkd_deploy.prove.checks.devices import require_tensorrt
from tmkd_deploy.prove.outcome import Evidence, expect, require
from tmkd_deploy.prove.workbench import Workbench

_SECONDS = 8
_TOLERANCE = 0.10


def power(bench: Workbench, evidence: Evidence) -> None:
    """The monitors' power is within a tenth of that of tegrastats, on the same rail."""
    require_tensorrt(bench)
    engine = bench.tensorrt("fp32")
    answer = bench.device.request(
        "power_comparison",
        runtime=engine.runtime,
        engine=engine.engine,
        images=bench.device.upload(bench.images(8)),
        seconds=_SECONDS,
    )
    read = {
        source: {rail: statistics.median(values) for rail, values in answer[source].items()}
        for source in ("monitors", "tegrastats")
    }
    for source, rails in read.items():
        evidence.add(**{f"{source}_{rail}_mw": value for rail, value in rails.items()})
    evidence.add(readings=max(map(len, answer["tegrastats"].values()), default=0))
    evidence.add(runs=answer["runs"])
    latency, _ = bench.timed({"fp32": engine}, 2.0)
    throughput = latency.rows[0].throughput
    energy = throughput.energy if throughput else None
    if energy is not None:
        evidence.add(
            energy_source=energy.source, millijoules_per_image=energy.millijoules_per_inference
        )
    expect(energy is not None, "No energy is read while an engine is timed.")
    require(bool(read["tegrastats"]), "tegrastats prints no power for this account.")
    require(bool(read["monitors"]), "The power is that of tegrastats; nothing else reads it here.")
    common = read["monitors"].keys() & read["tegrastats"].keys()
    expect(bool(common), "The monitors and tegrastats have no rail in common.")
    rail = max(common, key=lambda name: read["tegrastats"][name])
    expect(read["tegrastats"][rail] > 0, f"tegrastats prints no power on {rail}.")
    ratio = read["monitors"][rail] / read["tegrastats"][rail]
    evidence.add(rail=rail, monitors_over_tegrastats=ratio)
    expect(
        abs(ratio - 1) <= _TOLERANCE,
        f"On {rail}, the monitors read {ratio:.2f} times what tegrastats prints.",
    )


def heat(bench: Workbench, evidence: Evidence) -> None:
    """Temperatures, and whether the board throttled, are read while an engine is timed."""
    require_tensorrt(bench)
    latency, _ = bench.timed({"fp32": bench.tensorrt("fp32")}, 3.0)
    conditions = latency.conditions
    assert conditions is not None
    for zone, degrees in sorted(conditions.temperature_c.items()):
        evidence.add(**{f"{zone}_c": degrees})
    evidence.add(
        throttled=conditions.throttled,
        throttle_events=[f"{name} {count}" for name, count in conditions.throttle_events.items()],
        samples=conditions.samples,
    )
    expect(bool(conditions.temperature_c), "No temperature was read.")
    expect(conditions.throttled is not None, "Whether the board throttled is unknown.")
