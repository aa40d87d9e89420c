"""Claims about Arm processors and about GPUs of TensorRT-RTX."""

from __future__ import annotations

import importlib.util
from typing import Any

from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.prove.built import Built
from tmkd_deploy.prove.checks.decisions import expect_same_decisions
from tmkd_deploy.prove.checks.devices import NO_GPU, is_emulated, require_arm
from tmkd_deploy.prove.outcome import Evidence, NotRun, expect, require
from tmkd_deploy.prove.workbench import Workbench
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.targets import catalog
from tmkd_deploy.targets.support import numbers
from tmkd_deploy.targets.target_profile import TargetProfile

_SECONDS = 3.0


def arm_decisions(bench: Workbench, evidence: Evidence) -> None:
    """ONNX Runtime's engines decide on the board as their files do here."""
    require_arm(bench)
    evidence.add(onnxruntime=bench.info["onnxruntime"], processor=bench.info["processor"])
    for precision in ("fp32", "int8"):
        expect_same_decisions(bench, evidence, bench.onnxruntime(precision), precision)


def arm_speed(bench: Workbench, evidence: Evidence) -> None:
    """INT8 is faster than FP32 where the processor has dot-product instructions."""
    require_arm(bench)
    has_dot_product = bench.info["arm_dot_product"]
    evidence.add(processor=bench.info["processor"], arm_dot_product=has_dot_product)
    require(not is_emulated(bench), "This processor is emulated, so its times mean nothing.")
    require(has_dot_product is True, "This processor has no dot-product instructions.")
    engines = {name: bench.onnxruntime(name) for name in ("fp32", "int8")}
    latency, _ = bench.timed(engines, _SECONDS)
    (ratio,) = latency.ratios
    low, high = ratio.interval
    for row in latency.rows:
        evidence.add(**{f"{row.engine}_p50_ms": row.p50_ms})
    evidence.add(fp32_over_int8=ratio.ratio, interval=[low, high])
    evidence.quote(latency.warnings)
    expect(high > 1, f"INT8 is not faster: {ratio.ratio:.2f} ({low:.2f} to {high:.2f}).")
    require(low > 1, f"{ratio.ratio:.2f} ({low:.2f} to {high:.2f}) is too uncertain to tell.")


def rtx_run(bench: Workbench, evidence: Evidence) -> None:
    """Engines that this machine builds for the GPU, without one, run on it."""
    profile = _rtx_profile(bench)
    for precision in profile.precisions:
        model = bench.model(precision, QuantScheme.S8)
        file = runtime("tensorrt_rtx").build(model, precision, bench.side, profile, bench.folder)
        engine = bench.device.upload(bench.folder / file.file)
        sidecar: dict[str, Any] = {"dla": {"gpu_fallback_layers": []}}
        built = Built("tensorrt_rtx", engine, model, sidecar, [], [], False)
        expect_same_decisions(bench, evidence, built, precision)
        latency, _ = bench.timed({precision: built}, 1.0)
        evidence.add(**{f"{precision}_p50_ms": latency.rows[0].p50_ms})


def _rtx_profile(bench: Workbench) -> TargetProfile:
    gpu, there = bench.info["gpu"], bench.info["tensorrt_rtx"]
    if not gpu:
        raise NotRun(NO_GPU)
    profiles = [catalog.get(name) for name in catalog.names()]
    matching = [
        each
        for each in profiles
        if each.runtime == "tensorrt_rtx" and each.compute_capability == f"SM{gpu['sm']}"
    ]
    require(bool(matching), f"No target of TensorRT-RTX has a GPU of SM{gpu['sm']}.")
    pip = bench.info["pip"]
    require(there is not None, f"This device has no TensorRT-RTX: {pip} tensorrt-rtx-cu13")
    if importlib.util.find_spec("tensorrt_rtx") is None:
        raise NotRun("TensorRT-RTX is missing here: pip install 'tmkd-deploy[tensorrt-rtx]'")
    import tensorrt_rtx  # noqa: PLC0415 - loads a GB of libraries

    here = str(tensorrt_rtx.__version__)
    same = numbers(here)[:3] == numbers(str(there))[:3]
    require(same, f"TensorRT-RTX is {here} here and {there} on the device.")
    return matching[0]
