"""Claims about the deep learning accelerator (DLA) of a Jetson."""

from __future__ import annotations

from tmkd_deploy.engines.tensorrt_typing import dla_needs_cache
from tmkd_deploy.errors import TmkdError
from tmkd_deploy.prove.built import Built
from tmkd_deploy.prove.checks.decisions import expect_same_decisions
from tmkd_deploy.prove.checks.devices import NO_GPU, require_jetson, require_tensorrt
from tmkd_deploy.prove.outcome import Evidence, NotRun, expect, require
from tmkd_deploy.prove.workbench import Workbench
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.targets.support import numbers

# the conversion of pixels at the beginning, the classifier at the end
_ENDS = ("cast", "transpose", "head", "flatten", "shuffle", "scores", "logits")
_WITHOUT_DLA = ((10, 8), (10, 16))
_STALE = "Calibration table does not match"


def dla_cores(bench: Workbench, evidence: Evidence) -> None:
    """TensorRT finds the cores of the profile, and none where the release has no DLA."""
    require_tensorrt(bench)
    listed, found = _listed(bench), bench.info["dla_cores"]
    first, last = _WITHOUT_DLA
    unsupported = first <= numbers(bench.release)[:2] <= last
    evidence.add(release=bench.release, profile_dla_cores=listed, dla_cores=found)
    require(listed > 0, "The profile of this board lists no DLA.")
    if unsupported:
        expect(found == 0, f"TensorRT {bench.release} finds {found} DLA cores.")
    else:
        # the profile's number is that of the smallest module of its family
        enough = found is not None and found >= listed
        expect(enough, f"TensorRT finds {found} DLA cores, and the profile lists {listed}.")


def dla_fp16(bench: Workbench, evidence: Evidence) -> None:
    """Most layers of the FP16 engine run on the DLA."""
    _require_dla(bench)
    built = bench.tensorrt("fp16", dla_core=0)
    _record(evidence, "fp16", built)
    others = [name for name in built.fallback if not any(word in name.lower() for word in _ENDS)]
    expect(not others, f"These layers left the DLA: {', '.join(others[:10])}.")
    expect_same_decisions(bench, evidence, built, "fp16")


def dla_int8(bench: Workbench, evidence: Evidence) -> None:
    """Before TensorRT 11, the INT8 engine takes its scales from the cache written for it."""
    _require_dla(bench)
    require(dla_needs_cache(bench.release), f"TensorRT {bench.release} needs no calibration cache.")
    built = bench.tensorrt("int8", dla_core=0)
    _record(evidence, "int8", built)
    evidence.quote(line for line in built.log if "calibration" in line.lower())
    expect(not any(_STALE in line for line in built.log), "The builder refused the cache.")
    expect_same_decisions(bench, evidence, built, "int8")
    try:
        model = bench.model("int8", QuantScheme.S8, "flags")
        with_pairs = len(bench.build("int8", model, dla_core=0, with_pairs=True).fallback)
    except TmkdError as error:
        evidence.quote([f"From the file with Q/DQ pairs: {error.problem}"])
        return
    evidence.add(fallback_with_pairs=with_pairs)
    expect(len(built.fallback) < with_pairs, "No fewer layers fall back than with Q/DQ pairs.")


def dla_int8_qdq(bench: Workbench, evidence: Evidence) -> None:
    """From TensorRT 11 on, the DLA reads Q/DQ pairs."""
    _require_dla(bench)
    require(
        not dla_needs_cache(bench.release),
        f"TensorRT {bench.release} takes scales from a calibration cache.",
    )
    half, integers = (bench.tensorrt(name, dla_core=0) for name in ("fp16", "int8"))
    _record(evidence, "fp16", half)
    _record(evidence, "int8", integers)
    expect(
        len(integers.fallback) <= len(half.fallback),
        f"{len(integers.fallback)} layers of INT8 left the DLA, and {len(half.fallback)} of FP16.",
    )
    expect_same_decisions(bench, evidence, integers, "int8")


def _require_dla(bench: Workbench) -> None:
    require_jetson(bench)
    require_tensorrt(bench)
    if not bench.info["gpu"]:
        raise NotRun(NO_GPU)
    require(bool(bench.info["dla_cores"]), f"TensorRT {bench.release} finds no DLA on this device.")


def _listed(bench: Workbench) -> int:
    return bench.profile.dla_cores if bench.profile else 0


def _record(evidence: Evidence, name: str, built: Built) -> None:
    evidence.add(**{f"{name}_fallback_layers": list(built.fallback)})
