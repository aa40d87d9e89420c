"""TensorRT on a Jetson: a kit that is built into an engine on the device itself.

An engine only runs on the GPU and TensorRT it was built with, so what is written here is the typed
ONNX file and the exact command that builds it there.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tmkd_deploy.artifacts import sha256_of
from tmkd_deploy.engines.interface import Session, refuse_other_placement
from tmkd_deploy.engines.placement import Placement
from tmkd_deploy.errors import EnvironmentProblem
from tmkd_deploy.export.facts import INPUT
from tmkd_deploy.measure.results import EngineFile
from tmkd_deploy.targets.profile import TargetProfile

TRTEXEC = "/usr/src/tensorrt/bin/trtexec"


class TensorRTKit:
    """Writes build kits; an engine's size and layers are known only on the device."""

    name = "tensorrt"
    placement = Placement.SIGNED
    rest = "fp16"
    runs_here = False

    def build(
        self, onnx: Path, precision: str, image_size: int, profile: TargetProfile, folder: Path
    ) -> EngineFile:
        """Write the model, its profile and `build-<precision>.sh`."""
        refuse_other_placement(onnx, self.placement)
        model = folder / f"{precision}.onnx"
        shutil.copyfile(onnx, model)
        command = build_command(precision, image_size)
        (folder / f"{precision}.profile.json").write_text(
            json.dumps(
                {
                    "target": profile.name,
                    "compute_capability": profile.compute_capability,
                    "software": [release.model_dump() for release in profile.software],
                    "input": {"name": INPUT, "dtype": "uint8", "shape": _shape(image_size)},
                    "command": command,
                },
                indent=1,
            )
            + "\n"
        )
        script = folder / f"build-{precision}.sh"
        script.write_text(_SCRIPT.format(target=profile.title, command=" \\\n    ".join(command)))
        script.chmod(0o755)
        return EngineFile(
            precision=precision,
            file=model.name,
            bytes=model.stat().st_size,
            sha256=sha256_of(model),
            int8_layers=None,
            total_layers=None,
        )

    def open(self, engine: Path, threads: int) -> Session:
        """A kit cannot be run.

        Raises:
            EnvironmentProblem: always.
        """
        raise EnvironmentProblem(
            "This is a build kit, not an engine: it has to be built on the device first.",
            where=str(engine),
            advice="Copy the kit's folder to the device and run its build script there.",
        )


def build_command(precision: str, image_size: int) -> list[str]:
    """The command that builds the engine on the device, one argument an entry."""
    shape = "x".join(str(length) for length in _shape(image_size))
    return [
        TRTEXEC,
        f"--onnx={precision}.onnx",
        f"--saveEngine={precision}.engine",
        "--stronglyTyped",
        f"--minShapes={INPUT}:{shape}",
        f"--optShapes={INPUT}:{shape}",
        f"--maxShapes={INPUT}:{shape}",
        "--timingCacheFile=timing.cache",
        "--profilingVerbosity=detailed",
        "--skipInference",
    ]


def _shape(image_size: int) -> list[int]:
    return [1, image_size, image_size, 3]


_SCRIPT = """#!/bin/sh
# Builds the engine for {target}. Run it on that device, in this folder.
set -eu
cd "$(dirname "$0")"
{command}
"""
