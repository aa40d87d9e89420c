"""Claims about running TensorRT's engines: memory, and how steady latencies are."""

from __future__ import annotations

from tmkd_deploy.prove.checks.devices import require_tensorrt
from tmkd_deploy.prove.outcome import Evidence, expect, require
from tmkd_deploy.prove.workbench import Workbench
from tmkd_deploy.records.latency import Latency

_FEW, _MANY = 10, 1000
# what other programs of a board take and give back meanwhile
_MB_ALLOWED = 32
_SECONDS = 2.0


def session(bench: Workbench, evidence: Evidence) -> None:
    """After a thousand inferences, as much memory is free as after ten."""
    require_tensorrt(bench)
    engine = bench.tensorrt("fp32")
    free = []
    for count in (_FEW, _MANY, _FEW):
        bench.logits(engine.engine, engine.runtime, bench.images(count))
        free.append(bench.device.request("probe")["memory_free_mb"])
    evidence.add(
        free_mb_after_ten=free[0], free_mb_after_a_thousand=free[1], free_mb_at_last=free[2]
    )
    require(None not in free, "The device does not say how much memory is free.")
    lost = free[0] - max(free[1:])
    evidence.add(lost_mb=lost, allowed_mb=_MB_ALLOWED)
    expect(lost <= _MB_ALLOWED, f"{lost} MB were not given back.")


def latency(bench: Workbench, evidence: Evidence) -> None:
    """With locked clocks, two measurements agree, without a warning."""
    require_tensorrt(bench)
    locked = (bench.info["clocks"] or {}).get("locked")
    require(locked is True, "The clocks are not locked; root locks them: sudo jetson_clocks")
    engines = {name: bench.tensorrt(name) for name in ("int8", "fp32")}
    first, second = (bench.timed(engines, _SECONDS)[0] for _ in range(2))
    for number, run in enumerate((first, second), start=1):
        _record(evidence, run, number)
    for run in (first, second):
        expect(not run.warnings, " ".join(run.warnings))
    for one, other in zip(first.rows, second.rows, strict=True):
        low = max(one.p50_interval_ms[0], other.p50_interval_ms[0])
        high = min(one.p50_interval_ms[1], other.p50_interval_ms[1])
        expect(low <= high, f"The two measurements of the {one.engine} engine do not agree.")
        expect(one.device is not None, "The runtime does not time its device.")
        assert one.device is not None
        expect(
            one.device.p50_ms < one.p50_ms,
            f"The device's own time for {one.engine} is not below the host's.",
        )


def _record(evidence: Evidence, run: Latency, number: int) -> None:
    for row in run.rows:
        name = f"run{number}_{row.engine}"
        device = row.device.p50_ms if row.device else None
        evidence.add(**{f"{name}_p50_ms": row.p50_ms, f"{name}_device_p50_ms": device})
        evidence.add(**{f"{name}_p50_interval_ms": row.p50_interval_ms})
    evidence.quote(run.warnings)
