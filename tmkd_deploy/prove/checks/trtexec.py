"""Claims about `trtexec`: a build kit's scripts, and agreement on the time of an engine."""

from __future__ import annotations

import math
import statistics

from tmkd_deploy.engines.tensorrt_kit import TensorRTKit
from tmkd_deploy.errors import DataError
from tmkd_deploy.prove.checks.decisions import expect_same_decisions
from tmkd_deploy.prove.checks.devices import require_trtexec
from tmkd_deploy.prove.outcome import Evidence, NotRun, expect
from tmkd_deploy.prove.workbench import Workbench
from tmkd_deploy.records.onnx_model import INPUT
from tmkd_deploy.targets.target_profile import PRECISIONS

TURNS = 8
_T = 2.364624251592785  # the 97.5th percentile of Student's t with 7 degrees of freedom
_WITHIN = 0.10


def trtexec(bench: Workbench, evidence: Evidence) -> None:
    """Each script of a build kit writes an engine that TensorRT's module opens."""
    require_trtexec(bench)
    profile = bench.profile
    if profile is None:
        raise NotRun("No profile fits this device.")
    for precision in PRECISIONS["tensorrt"]:
        built = bench.tensorrt(precision)
        folder = bench.folder / f"kit-{precision}"
        folder.mkdir()
        TensorRTKit().build(built.model, precision, bench.side, profile, folder)
        answer = bench.device.request(
            "kit_build",
            files={path.name: bench.device.upload(path) for path in sorted(folder.iterdir())},
            script=f"build-{precision}.sh",
            written=f"{precision}.engine",
        )
        evidence.add(**{f"{precision}_status": answer["status"]})
        evidence.quote(answer["lines"][-3:])
        expect(
            answer["status"] == 0 and answer["engine"] is not None,
            f"build-{precision}.sh ended with status {answer['status']}.",
        )
        expect_same_decisions(bench, evidence, built, precision, answer["engine"])


def trtexec_latency(bench: Workbench, evidence: Evidence) -> None:
    """Timed in turns, the GPU's own time agrees with that of trtexec within a tenth."""
    require_trtexec(bench)
    engine = bench.tensorrt("fp32")
    ours, theirs, hosts, latencies = [], [], [], []
    for _ in range(TURNS):
        latency, raw = bench.timed({"fp32": engine}, 1.0)
        ours.append(_device_median(raw))
        hosts.append(latency.rows[0].p50_ms)
        graphs = raw.get("graph_problem")
        answer = bench.device.request(
            "trtexec_times",
            engine=engine.engine,
            input=INPUT,
            height=bench.side,
            width=bench.side,
            seconds=2,
            cuda_graph=isinstance(graphs, dict) and graphs.get("fp32", "") is None,
        )
        theirs.append(answer["compute_ms"])
        latencies.append(answer["latency_ms"])
    evidence.quote([" ".join(answer["command"]), *answer["lines"]])
    low, ratio, high = ratio_interval(ours, theirs)
    evidence.add(
        ours_device_ms=list(ours),
        trtexec_compute_ms=list(theirs),
        ours_host_ms=list(hosts),
        trtexec_latency_ms=list(latencies),
        ratio=ratio,
        interval=[low, high],
        clocks_locked=(bench.info["clocks"] or {}).get("locked"),
    )
    found = f"The ratio is {ratio:.3f} ({low:.3f} to {high:.3f})."
    least, most = 1 - _WITHIN, 1 + _WITHIN
    expect(high >= least and low <= most, found)
    if not least <= low <= high <= most:
        raise NotRun(f"{found} That is too uncertain to tell; lock the clocks: sudo jetson_clocks")


def ratio_interval(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """The geometric mean of the ratios of `TURNS` turns, between the ends of its 95 % interval."""
    logs = [math.log(one / other) for one, other in zip(ours, theirs, strict=True)]
    mean = statistics.mean(logs)
    half = _T * statistics.stdev(logs) / math.sqrt(TURNS)
    return math.exp(mean - half), math.exp(mean), math.exp(mean + half)


def _device_median(raw: dict[str, object]) -> float:
    """The median of the device's own times; `bench.timed` has checked them."""
    times = raw["device_ms"]
    assert isinstance(times, dict)
    if not times.get("fp32"):
        raise DataError("The session does not time its device.", advice="Report this.")
    return float(statistics.median(times["fp32"]))
