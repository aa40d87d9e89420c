"""TensorRT on a Jetson: a kit that is built into an engine on the device itself.

An engine only runs on the GPU and TensorRT it was built with, so what is written here are typed
ONNX files and a script that asks the device's trtexec for its release and builds accordingly.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tmkd_deploy.artifacts import sha256_of
from tmkd_deploy.engines.interface import Session
from tmkd_deploy.engines.model_file import opset_of, read_model
from tmkd_deploy.engines.tensorrt_typing import FLAGS_OPSET, trtexec_flags, typing_of
from tmkd_deploy.errors import EnvironmentProblem
from tmkd_deploy.records.measurements import EngineFile
from tmkd_deploy.records.onnx_model import INPUT
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.types import FloatPrecision, Precision, RuntimeName
from tmkd_deploy.targets.target_profile import TargetProfile

TRTEXEC = "/usr/src/tensorrt/bin/trtexec"

# A release for each set of arguments, with how trtexec prints it: [TensorRT v8502] for 8.5.2,
# [TensorRT v100300] for 10.3.0. Those before 8.5 read no uint8 images.
_RELEASES = {"8.5": "85??", "8.6": "8[6-9]??", "10": "10????", "11": "1[1-9]????"}


class TensorRTKit:
    """Writes build kits; an engine's size and layers are known only on the device."""

    name: RuntimeName = "tensorrt"
    quant_scheme = QuantScheme.S8
    float_precision: FloatPrecision = "fp16"
    runs_here = False

    def build(
        self,
        onnx: Path,
        precision: Precision,
        image_size: int,
        profile: TargetProfile,
        folder: Path,
    ) -> EngineFile:
        """Write the model, its profile and `build-<precision>.sh`.

        Where devices of the profile may carry different releases this is called once for each of
        the precision's files, and the script chooses among them.
        """
        proto = read_model(onnx, self.quant_scheme, image_size, profile)
        model = folder / (
            _older(precision) if opset_of(proto) <= FLAGS_OPSET else _newer(precision)
        )
        shutil.copyfile(onnx, model)
        (folder / f"{precision}.profile.json").write_text(
            json.dumps(
                {
                    "target": profile.name,
                    "compute_capability": profile.compute_capability,
                    "software": [release.model_dump() for release in profile.software],
                    "input": {"name": INPUT, "dtype": "uint8", "shape": _shape(image_size)},
                    "commands": {
                        f"TensorRT {release}": build_command(release, precision, image_size)
                        for release in _RELEASES
                    },
                },
                indent=1,
            )
            + "\n"
        )
        script = folder / f"build-{precision}.sh"
        script.write_text(_script(profile.title, precision, image_size))
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


def build_command(release: str, precision: Precision, image_size: int) -> list[str]:
    """The command that builds the engine on a device with that TensorRT, one argument an entry."""
    shape = "x".join(str(length) for length in _shape(image_size))
    model = _older(precision) if typing_of(release) == "flags" else _newer(precision)
    return [
        TRTEXEC,
        f"--onnx={model}",
        f"--saveEngine={precision}.engine",
        *trtexec_flags(release, precision),
        f"--minShapes={INPUT}:{shape}",
        f"--optShapes={INPUT}:{shape}",
        f"--maxShapes={INPUT}:{shape}",
        "--timingCacheFile=timing.cache",
        "--profilingVerbosity=detailed",
    ]


def _newer(precision: Precision) -> str:
    return f"{precision}.onnx"


def _older(precision: Precision) -> str:
    return f"{precision}-opset{FLAGS_OPSET}.onnx"


def _shape(image_size: int) -> list[int]:
    return [1, image_size, image_size, 3]


def _script(target: str, precision: Precision, image_size: int) -> str:
    cases = "".join(
        _CASE.format(printed=printed, arguments=" ".join(command[1:]))
        for release, printed in _RELEASES.items()
        for command in [build_command(release, precision, image_size)]
    )
    return _SCRIPT.format(target=target, trtexec=TRTEXEC, cases=cases)


_CASE = """    {printed}) set -- {arguments} ;;
"""

_SCRIPT = """#!/bin/sh
# Builds the engine for {target}. Run it on that device, in any folder.
set -eu
cd "$(dirname "$0")"
trtexec="${{TRTEXEC:-{trtexec}}}"
if [ ! -x "$trtexec" ]; then
    echo "There is no trtexec at $trtexec; set TRTEXEC to where it is." >&2
    exit 1
fi
# its first line is such as: &&&& RUNNING TensorRT.trtexec [TensorRT v100300] # ...
release=$("$trtexec" --help 2>&1 | sed -n 's/.*\\[TensorRT v\\([0-9]*\\)\\].*/\\1/p;' | sed -n 1p)
case "$release" in
{cases}    *)
        echo "This kit is for TensorRT 8.5, 8.6, 10 and 11. $trtexec says it is" \\
            "${{release:-of no release}}." >&2
        exit 1
        ;;
esac
model="${{1#--onnx=}}"
if [ ! -f "$model" ]; then
    echo "This kit holds no $model, the file for the TensorRT of this device (v$release)." >&2
    exit 1
fi
exec "$trtexec" "$@"
"""
