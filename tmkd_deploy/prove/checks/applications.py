"""Claims about what applications do with a bundle on a device."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

import tmkd_deploy
from tmkd_deploy.errors import EnvironmentProblem
from tmkd_deploy.prove.built import Built
from tmkd_deploy.prove.bundled import bundle
from tmkd_deploy.prove.checks.devices import require_arm, require_tensorrt
from tmkd_deploy.prove.outcome import Evidence, NotRun, expect, require
from tmkd_deploy.prove.workbench import Workbench

_SOURCES = Path(tmkd_deploy.__file__).parents[1] / "runtime" / "cpp"
_FRAMES = 20
_MISSING = "is not installed."


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
