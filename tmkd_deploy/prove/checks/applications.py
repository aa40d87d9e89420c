"""Claims about what applications do with a bundle on a device."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

import tmkd_deploy
from tmkd_deploy.bundle.install import buildable_engines, install_on
from tmkd_deploy.errors import EnvironmentProblem
from tmkd_deploy.prove.built import Built
from tmkd_deploy.prove.bundled import bundle
from tmkd_deploy.prove.checks.devices import require_arm, require_tensorrt
from tmkd_deploy.prove.outcome import Evidence, NotRun, expect, require
from tmkd_deploy.prove.workbench import Workbench
from tmkd_deploy.targets.target_profile import PRECISIONS

_SOURCES = Path(tmkd_deploy.__file__).parents[1] / "runtime" / "cpp"
_FRAMES = 20
_MISSING = "is not installed."
_NOT_FOUND = "Could NOT find"  # CMake's words for a library or its headers


def install(bench: Workbench, evidence: Evidence) -> None:
    """A bundle made elsewhere is built on the device, checked and found again; then removed."""
    require_tensorrt(bench)
    built = bench.tensorrt("fp16")
    path, _ = bundle(bench, built, "fp16", elsewhere=True)
    _, ((_, key),) = buildable_engines(path)
    try:
        (first,) = install_on(bench.device, path)
        (second,) = install_on(bench.device, path)
    finally:
        bench.device.request("remove_installed", **key._asdict())
    evidence.add(
        path=first.path,
        largest_difference=first.largest_difference,
        reused_at_first=first.reused,
        reused_again=second.reused,
    )
    evidence.quote(each.reason for each in (first, second) if each.reason)
    expect(first.runs and not first.reused, f"It was not built: {first.reason or 'it was there'}.")
    expect(second.reused and second.path == first.path, "It was not found again.")


def cuda_graph(bench: Workbench, evidence: Evidence) -> None:
    """Each engine runs as one CUDA graph."""
    require_tensorrt(bench)
    engines: dict[str, Built] = {name: bench.tensorrt(name) for name in PRECISIONS["tensorrt"]}
    latency, raw = bench.timed(engines, 1.0)
    for row in latency.rows:
        device = row.device
        evidence.add(
            **{
                f"{row.engine}_problem": raw["graph_problem"].get(row.engine, "unknown"),
                f"{row.engine}_enqueue_p50_ms": device.enqueue_p50_ms if device else None,
                f"{row.engine}_device_p50_ms": device.p50_ms if device else None,
            }
        )
    without = [name for name in engines if raw["graph_problem"].get(name, "") is not None]
    expect(not without, f"Without a CUDA graph: {', '.join(without)}.")


def cpp_tensorrt(bench: Workbench, evidence: Evidence) -> None:
    """The C++ runtime builds with JetPack's TensorRT, and runs a plan as Python does."""
    require_tensorrt(bench)
    run_from_cpp(bench, evidence, bench.tensorrt("fp32"))


def cpp_onnxruntime(bench: Workbench, evidence: Evidence) -> None:
    """The C++ runtime builds on an Arm board, and decides as Python does."""
    require_arm(bench)
    run_from_cpp(bench, evidence, bench.onnxruntime("fp32"))


def run_from_cpp(bench: Workbench, evidence: Evidence, built: Built) -> None:
    """Build the C++ runtime on the device, and compare what it answers for an FP32 engine."""
    require(_SOURCES.is_dir(), "The sources of the C++ runtime are only in a checkout.")
    path, logits = bundle(bench, built, "fp32")
    frames = bench.folder / "frames.rgb"
    images = np.load(bench.test_images, mmap_mode="r", allow_pickle=False)
    frames.write_bytes(np.ascontiguousarray(images[:_FRAMES]).tobytes())
    answer = _request(bench, built, path, frames)
    lines = answer["lines"]
    evidence.add(step=answer["step"], status=answer["status"])
    evidence.quote(lines[-6:])
    lacking = next((line for line in lines if _NOT_FOUND in line), None)
    require(answer["step"] != "configure" or lacking is None, f"CMake says: {lacking}")
    expect(answer["status"] == 0, f"The step {answer['step']!r} ended with {answer['status']}.")
    verification, *found = _objects(lines)
    evidence.add(
        golden_images=_number(verification, "golden_images"),
        largest_difference=_number(verification, "largest_difference"),
        tolerance=_number(verification, "tolerance"),
    )
    decided = [_number(each, "index") for each in found]
    wanted = logits[:_FRAMES].argmax(axis=1).tolist()
    evidence.add(decisions=decided, of_python=wanted)
    expect(decided == wanted, "It decides otherwise than Python.")


def _request(bench: Workbench, built: Built, path: Path, frames: Path) -> dict[str, Any]:
    sources = bench.folder / "sources.zip"
    with zipfile.ZipFile(sources, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(_SOURCES.rglob("*")):
            archive.write(file, file.relative_to(_SOURCES))
    try:
        return bench.device.request(
            "cpp_run",
            sources=bench.device.upload(sources),
            bundle=bench.device.upload(path),
            frames=bench.device.upload(frames),
            side=bench.side,
            runtime=built.runtime,
        )
    except EnvironmentProblem as error:
        if error.problem.endswith(_MISSING):
            raise NotRun(f"{error.problem} {error.advice}") from error
        raise


def _objects(lines: list[str]) -> list[dict[str, Any]]:
    """The JSON objects in what the program printed, the verification's first."""
    objects = []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            objects.append(value)
    expect(bool(objects), "The program printed no answers.")
    return objects


def _number(value: dict[str, Any], name: str) -> float | int | None:
    found = value.get(name)
    return found if isinstance(found, int | float) else None
