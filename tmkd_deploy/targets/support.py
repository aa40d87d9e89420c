"""Which TensorRT supports which GPU, and which driver each CUDA needs, with sources."""

from __future__ import annotations

import re
from typing import NamedTuple


class Support(NamedTuple):
    """The first TensorRT release to support an architecture, and the first to drop it."""

    first: tuple[int, int]
    dropped: tuple[int, int] | None
    source: str


# SM75 is omitted: every TensorRT still in use supports it.
TENSORRT = {
    72: Support(
        (5, 0),
        (8, 6),
        "JetPack 5 with TensorRT 8.5 is Xavier's last: "
        "https://developer.nvidia.com/embedded/jetpack-sdk-511; JetPack 6 lists only Orin",
    ),
    86: Support((8, 0), None, "https://github.com/NVIDIA/TensorRT/issues/2332"),
    87: Support((8, 4), None, "https://developer.nvidia.com/embedded/jetpack-sdk-502"),
    89: Support((8, 5), None, "https://github.com/NVIDIA/TensorRT/issues/2727"),
    110: Support((10, 13), None, "https://github.com/rbonghi/jetson_stats/issues/820"),
    120: Support(
        (10, 8), None, "https://github.com/DDTRobot/tita_rl_sim2sim2real/issues/7: not 10.7"
    ),
}

# "Added support for importing ONNX networks with UINT8 I/O types" in 8.5:
# https://github.com/onnx/onnx-tensorrt/blob/main/docs/Changelog.md
FIRST_WITH_UINT8 = (8, 5)

# The oldest driver for each major release of CUDA, where the driver is installed separately: "minor
# version compatibility" in https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/.
# Unconfirmed: the table on that page could not be read.
DRIVER_FOR_CUDA = {11: (450, 80), 12: (525, 60), 13: (580, 65)}


def numbers(version: str) -> tuple[int, ...]:
    """`10.3.0.26-1+cuda12.6` as (10, 3, 0, 26); empty if there are none."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def unsupported_reason(tensorrt: str, sm: str) -> str | None:
    """Why this TensorRT cannot build our models for compute capability `sm`, such as "87".

    None if it can.
    """
    known = TENSORRT.get(int(sm)) if sm.isdigit() else None
    release = numbers(tensorrt)[:2]
    if len(release) == 2 and release < FIRST_WITH_UINT8:
        return "TensorRT reads uint8 images from 8.5 on"
    if known is None or len(release) < 2:
        return None
    if release < known.first:
        return f"TensorRT supports SM{sm} from {known.first[0]}.{known.first[1]} on"
    if known.dropped and release >= known.dropped:
        return f"TensorRT dropped SM{sm} in {known.dropped[0]}.{known.dropped[1]}"
    return None


def oldest_driver(cuda: str) -> str | None:
    """The oldest driver for programs of this CUDA; None if it is unknown."""
    needed = DRIVER_FOR_CUDA.get(next(iter(numbers(cuda)), 0))
    return f"{needed[0]}.{needed[1]}" if needed else None
