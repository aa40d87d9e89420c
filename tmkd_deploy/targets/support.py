"""Which TensorRT knows which GPU, and which driver each CUDA needs; with the source of each row."""

from __future__ import annotations

import re
from typing import NamedTuple


class Support(NamedTuple):
    """The first release of TensorRT for an architecture, and the first without it again."""

    first: tuple[int, int]
    gone: tuple[int, int] | None
    source: str


# SM75 is left out: every TensorRT that is met today knows it.
TENSORRT = {
    72: Support(
        (5, 0),
        (8, 6),
        "JetPack 5 with TensorRT 8.5 is Xavier's last: "
        "https://developer.nvidia.com/embedded/jetpack-sdk-511; JetPack 6 names Orin alone",
    ),
    86: Support((8, 0), None, "https://github.com/NVIDIA/TensorRT/issues/2332"),
    87: Support((8, 4), None, "https://developer.nvidia.com/embedded/jetpack-sdk-502"),
    89: Support((8, 5), None, "https://github.com/NVIDIA/TensorRT/issues/2727"),
    110: Support((10, 13), None, "https://github.com/rbonghi/jetson_stats/issues/820"),
    120: Support(
        (10, 8), None, "https://github.com/DDTRobot/tita_rl_sim2sim2real/issues/7: not 10.7"
    ),
}

# The oldest driver of each major release of CUDA, on machines whose driver is installed apart:
# "minor version compatibility" in https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/.
# Unconfirmed: the page was found, its table was not among what could be read of it.
DRIVER_FOR_CUDA = {11: (450, 80), 12: (525, 60), 13: (580, 65)}


def numbers(version: str) -> tuple[int, ...]:
    """`10.3.0.26-1+cuda12.6` as (10, 3, 0, 26); empty where there are none."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def why_not(tensorrt: str, sm: str) -> str | None:
    """Why this release of TensorRT has no engines for compute capability `sm`, such as "87"."""
    known = TENSORRT.get(int(sm)) if sm.isdigit() else None
    release = numbers(tensorrt)[:2]
    if known is None or len(release) < 2:
        return None
    if release < known.first:
        return f"TensorRT knows SM{sm} from {known.first[0]}.{known.first[1]} on"
    if known.gone and release >= known.gone:
        return f"TensorRT has no SM{sm} from {known.gone[0]}.{known.gone[1]} on"
    return None


def oldest_driver(cuda: str) -> str | None:
    """The oldest driver that runs programs of this CUDA; None where it is not known."""
    needed = DRIVER_FOR_CUDA.get(next(iter(numbers(cuda)), 0))
    return f"{needed[0]}.{needed[1]}" if needed else None
