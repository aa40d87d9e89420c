"""Tables of what was recorded beside latency: whole frames, throughput, energy, conditions."""

from __future__ import annotations

from tmkd_deploy.records.latency import Conditions, DeviceTime, Latency
from tmkd_deploy.report import formatting
from tmkd_deploy.report.tables import Table


def speed(timed: Latency, shipped: str | None = None) -> Table | None:
    """Throughput, energy, device time and warm-up of every engine; None if not measured."""
    rows = []
    for row in timed.rows:
        if row.throughput is None or row.warmup is None:
            return None
        energy = row.throughput.energy
        unfinished = "" if row.warmup.warmed_up else ", not warmed up"
        rows.append(
            [
                row.label,
                formatting.rate(row.throughput.images_per_second),
                f"{energy.millijoules_per_inference:.3g} mJ" if energy else formatting.NOT_MEASURED,
                formatting.milliseconds(row.device.p50_ms) if row.device else formatting.NONE,
                _enqueue(row.device),
                f"{formatting.duration(row.warmup.seconds)}{unfinished}",
            ]
        )
    names = [row.engine for row in timed.rows]
    return Table(
        "Throughput of one back-to-back caller, measured between the latency rounds; energy per "
        f"image during that time ({_source(timed)}); median device time without copies; median "
        "time of the host to start an inference, piece by piece or as one CUDA graph; time to warm "
        "up.",
        ["Engine", "Throughput", "Energy", "Device time", "Enqueue time", "Warm-up"],
        rows,
        numeric=frozenset({1, 2, 3, 4, 5}),
        marked=names.index(shipped) if shipped in names else None,
    )


def frame(timed: Latency, shipped: str | None = None) -> Table | None:
    """Latency of a whole frame, and where the time goes; None if no frame was timed."""
    found = timed.frame
    if found is None:
        return None
    alone = {row.engine: row.p50_ms for row in timed.rows}
    resizing, names = found.resizing.p50_ms, [row.engine for row in found.rows]
    rows = [
        [
            row.label,
            formatting.milliseconds(row.p50_ms, row.p50_interval_ms),
            formatting.milliseconds(row.p99_ms, row.p99_interval_ms),
            formatting.milliseconds(resizing),
            formatting.milliseconds(alone[row.engine]),
            # medians of separate runs need not add up
            formatting.milliseconds(max(0.0, row.p50_ms - resizing - alone[row.engine])),
        ]
        for row in found.rows
    ]
    return Table(
        f"Latency of a whole frame: from {found.width} x {found.height} raw RGB pixels in memory "
        "to label and confidence, by the code of an application's `predict`, with 95 % intervals "
        "in parentheses. Resizing and engine are medians of runs of their own in the same rounds; "
        "the rest, checks and decision, is what they leave of the frame's median. Cameras that "
        "encode their frames add the time to decode them.",
        ["Engine", "Frame p50", "Frame p99", "Resizing", "Engine alone", "Rest"],
        rows,
        numeric=frozenset({1, 2, 3, 4, 5}),
        marked=names.index(shipped) if shipped in names else None,
    )


def conditions(found: Conditions) -> Table:
    """Clocks, temperature, throttling and load before, during and after the measurement."""
    before, after = found.before, found.after
    rows = [
        ["Clocks", _locked(before.clocks.locked), formatting.NONE, _locked(after.clocks.locked)],
        [
            "CPU clock",
            _hertz(before.clocks.cpu_hz),
            _hertz(*(found.cpu_hz or (None,))),
            _hertz(after.clocks.cpu_hz),
        ],
        [
            "GPU clock",
            _hertz(before.clocks.gpu_hz),
            _hertz(*(found.gpu_hz or (None,))),
            _hertz(after.clocks.gpu_hz),
        ],
        [
            "Hottest zone",
            _hottest(before.temperature_c),
            _hottest(found.temperature_c),
            _hottest(after.temperature_c),
        ],
        ["Throttling", _now(before.throttling), _throttled(found), _now(after.throttling)],
        ["Load", _load(before.load), formatting.NONE, _load(after.load)],
    ]
    mode = f"Power mode {found.power_mode.name}. " if found.power_mode else ""
    return Table(
        f"{mode}The machine during the latency measurement, sampled {found.samples} times between "
        "counted runs.",
        ["Condition", "Before", "During", "After"],
        rows,
    )


def _enqueue(device: DeviceTime | None) -> str:
    if device is None or device.enqueue_p50_ms is None:
        return formatting.NONE
    how = "CUDA graph" if device.cuda_graph else "no CUDA graph"
    return f"{formatting.milliseconds(device.enqueue_p50_ms)}, {how}"


def _source(timed: Latency) -> str:
    sources = {
        row.throughput.energy.source
        for row in timed.rows
        if row.throughput and row.throughput.energy
    }
    return " and ".join(sorted(sources)) or "no readable energy counter on this machine"


def _locked(locked: bool | None) -> str:
    return {True: "locked", False: "not locked", None: "unknown"}[locked]


def _hertz(*ends: int | None) -> str:
    known = sorted({f"{hertz / 1e6:.0f}" for hertz in ends if hertz is not None}, key=int)
    return f"{' to '.join(known)} MHz" if known else "unknown"


def _hottest(zones: dict[str, float]) -> str:
    if not zones:
        return "unknown"
    zone = max(zones, key=lambda name: zones[name])
    return f"{zones[zone]:.1f} °C ({zone})"


def _now(throttling: list[str] | None) -> str:
    return "unknown" if throttling is None else ", ".join(throttling) or "none"


def _throttled(found: Conditions) -> str:
    if found.throttled is None:
        return "unknown"
    events = (f"{cause} {count} times" for cause, count in found.throttle_events.items())
    return ", ".join(events) or "none"


def _load(load: float | None) -> str:
    return "unknown" if load is None else f"{load:.2f}"
