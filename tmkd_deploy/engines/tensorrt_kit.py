"""TensorRT on a Jetson: a kit that the device itself builds into an engine.

An engine runs only on the GPU and TensorRT version it was built with. The kit therefore contains
typed ONNX files and a script that builds with the arguments for the device's TensorRT release.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tmkd_deploy.engines.dla_model import for_dla
from tmkd_deploy.engines.engine_file import describe_engine
from tmkd_deploy.engines.model_file import opset_of, read_model
from tmkd_deploy.engines.tensorrt_runtime import TensorRTRuntime
from tmkd_deploy.engines.tensorrt_typing import (
    FLAGS_OPSET,
    dla_needs_cache,
    trtexec_flags,
    typing_of,
)
from tmkd_deploy.records.measurements import EngineFile
from tmkd_deploy.records.onnx_model import INPUT
from tmkd_deploy.records.types import ImageSize, Precision, RuntimeName, height_and_width
from tmkd_deploy.targets.target_profile import TargetProfile

TRTEXEC = "/usr/src/tensorrt/bin/trtexec"

# one release per set of trtexec arguments, with the pattern of its version in trtexec's banner:
# [TensorRT v8502] is 8.5.2, [TensorRT v100300] is 10.3.0; releases before 8.5 lack uint8 inputs
_RELEASES = {"8.5": "85??", "8.6": "8[6-9]??", "10": "10????", "11": "1[1-9]????"}

# of those, the ones that an older and a newer file are written for
_OLDER_RELEASE, _NEWER_RELEASE = "8.5", "11"
# the script writes it for the release that it finds
_CACHE = "calibration.cache"


class TensorRTKit(TensorRTRuntime):
    """Writes build kits; an engine's size and layers are known only on the device.

    With `dla_core`, the INT8 and FP16 kits are for that deep learning accelerator.
    """

    name: RuntimeName = "tensorrt"
    reason = "This is a build kit, not an engine: it must be built on the device first."
    advice = "Copy the kit's folder to the device and run its build script there."

    def __init__(self, dla_core: int | None = None) -> None:
        self._dla_core = dla_core

    def build(
        self,
        onnx: Path,
        precision: Precision,
        image_size: ImageSize,
        profile: TargetProfile,
        folder: Path,
    ) -> EngineFile:
        """Write the model, its profile and `build-<precision>.sh`.

        If devices of the profile may have different TensorRT releases, this is called once for each
        of the precision's ONNX files, and the script selects one.
        """
        proto = read_model(onnx, self.quant_scheme, image_size, profile)
        is_older = opset_of(proto) <= FLAGS_OPSET
        model = folder / (_older(precision) if is_older else _newer(precision))
        core = None if precision == "fp32" else self._dla_core
        if core is None:
            shutil.copyfile(onnx, model)
        else:
            for_dla(onnx, precision, _OLDER_RELEASE if is_older else _NEWER_RELEASE, model)
        (folder / f"{precision}.profile.json").write_text(
            json.dumps(
                {
                    "target": profile.name,
                    "compute_capability": profile.compute_capability,
                    "dla_core": core,
                    "software": [release.model_dump() for release in profile.software],
                    "input": {"name": INPUT, "dtype": "uint8", "shape": _shape(image_size)},
                    "commands": {
                        f"TensorRT {release}": build_command(
                            release, precision, image_size, profile.workspace_mb, core
                        )
                        for release in _RELEASES
                    },
                },
                indent=1,
            )
            + "\n"
        )
        script = folder / f"build-{precision}.sh"
        script.write_text(_script(profile, precision, image_size, core))
        script.chmod(0o755)
        return describe_engine(precision, model)


def build_command(
    release: str,
    precision: Precision,
    image_size: ImageSize,
    workspace_mb: int | None,
    dla_core: int | None = None,
) -> list[str]:
    """The arguments of the command that builds the engine on a device with a TensorRT release.

    Without `workspace_mb`, trtexec takes all of the memory, which the system needs a part of. The
    file for a DLA has its shape itself, and trtexec takes none for it:
    https://github.com/NVIDIA/TensorRT/issues/2043.
    """
    shape = "x".join(str(length) for length in _shape(image_size))
    dla = dla_core is not None
    is_cached = dla and precision == "int8" and dla_needs_cache(release)
    is_older = is_cached or typing_of(release) == "flags"
    return [
        TRTEXEC,
        f"--onnx={_older(precision) if is_older else _newer(precision)}",
        f"--saveEngine={precision}.engine",
        *trtexec_flags(release, precision, dla),
        *([f"--calib={_CACHE}"] if is_cached else []),
        *([f"--useDLACore={dla_core}", "--allowGPUFallback"] if dla else []),
        *([] if dla else [f"--{bound}Shapes={INPUT}:{shape}" for bound in ("min", "opt", "max")]),
        *([] if workspace_mb is None else [f"--memPoolSize=workspace:{workspace_mb}"]),
        "--timingCacheFile=timing.cache",
        "--profilingVerbosity=detailed",
    ]


def _newer(precision: Precision) -> str:
    return f"{precision}.onnx"


def _older(precision: Precision) -> str:
    return f"{precision}-opset{FLAGS_OPSET}.onnx"


def _shape(image_size: ImageSize) -> list[int]:
    return [1, *height_and_width(image_size), 3]


def _script(
    profile: TargetProfile, precision: Precision, image_size: ImageSize, dla_core: int | None
) -> str:
    cases = "".join(
        _CASE.format(printed=printed, arguments=" ".join(command[1:]))
        for release, printed in _RELEASES.items()
        for command in [
            build_command(release, precision, image_size, profile.workspace_mb, dla_core)
        ]
    )
    return _SCRIPT.format(target=profile.title, trtexec=TRTEXEC, cases=cases, cache=_CACHE)


_CASE = """    {printed}) set -- {arguments} ;;
"""

_SCRIPT = """#!/bin/sh
# Builds the engine for {target}. Run it on that device; the current folder does not matter.
set -eu
cd "$(dirname "$0")"
trtexec="${{TRTEXEC:-{trtexec}}}"
if [ ! -x "$trtexec" ]; then
    echo "trtexec not found at $trtexec; set TRTEXEC to its path." >&2
    exit 1
fi
# the first line looks like: &&&& RUNNING TensorRT.trtexec [TensorRT v100300] # ...
release=$("$trtexec" --help 2>&1 | sed -n 's/.*\\[TensorRT v\\([0-9]*\\)\\].*/\\1/p;' | sed -n 1p)
case "$release" in
{cases}    *)
        echo "This kit supports TensorRT 8.5, 8.6, 10 and 11; the release of $trtexec is" \\
            "${{release:-unknown}}." >&2
        exit 1
        ;;
esac
model="${{1#--onnx=}}"
if [ ! -f "$model" ]; then
    echo "This kit lacks $model, which the TensorRT of this device (v$release) needs." >&2
    exit 1
fi
if [ -f "${{model%.onnx}}.cache" ]; then
    # a calibration cache is for one release, which its first line names
    sed "1s/TRT-[0-9]*-/TRT-$release-/" "${{model%.onnx}}.cache" > {cache}
fi
exec "$trtexec" "$@"
"""
