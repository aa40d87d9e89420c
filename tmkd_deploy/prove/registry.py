"""The check of each claim of `targets.untested_claims`, in the order in which they are run.

What may take longest comes last, so that a short time shows as much as it can.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tmkd_deploy.prove.checks import (
    applications,
    board,
    building,
    by_hand,
    dla,
    power,
    processors,
    running,
    trtexec,
)
from tmkd_deploy.prove.outcome import Evidence
from tmkd_deploy.prove.workbench import Workbench
from tmkd_deploy.targets.untested_claims import CLAIMS, Claim


class Check(NamedTuple):
    """How a claim is checked: `seconds` is what it may take on the slowest board, if it applies.

    It is not begun with less time left. `with_root` says what root would add, None if nothing.
    """

    run: Callable[[Workbench, Evidence], None]
    seconds: float
    with_root: str | None = None


_LOCK = "sudo jetson_clocks locks the clocks, without which latencies are not held to be steady"

CHECKS: dict[str, Check] = {
    "module": Check(board.module, 30),
    "releases": Check(board.releases, 30),
    "gpu": Check(board.gpu, 30),
    "power-mode": Check(board.power_mode, 30, "sudo nvpmodel -m NUMBER sets another power mode"),
    "arm-decisions": Check(processors.arm_decisions, 120),
    "arm-speed": Check(processors.arm_speed, 90),
    "build": Check(building.build, 420),
    "same-decisions": Check(building.same_decisions, 60),
    "int8-layers": Check(building.int8_layers, 120),
    "fp16-scale-floor": Check(building.fp16_scale_floor, 120),
    "flags-after-myelin": Check(building.flags_after_myelin, 120),
    "other-device": Check(building.other_device, 60),
    "session": Check(running.session, 90),
    "heat": Check(power.heat, 60),
    "power": Check(power.power, 60),
    "latency": Check(running.latency, 90, _LOCK),
    "trtexec-latency": Check(trtexec.trtexec_latency, 180, _LOCK),
    "rtx-run": Check(processors.rtx_run, 120),
    "dla-cores": Check(dla.dla_cores, 30),
    "dla-fp16": Check(dla.dla_fp16, 180),
    "dla-int8": Check(dla.dla_int8, 300),
    "dla-int8-qdq": Check(dla.dla_int8_qdq, 240),
    "timing-cache": Check(building.timing_cache, 180),
    "trtexec": Check(trtexec.trtexec, 360),
    "cuda-graph": Check(applications.cuda_graph, 60),
    "install": Check(applications.install, 180),
    "cpp-tensorrt": Check(applications.cpp_tensorrt, 300),
    "cpp-onnxruntime": Check(applications.cpp_onnxruntime, 300),
    "flash": Check(by_hand.flash, 5),
    "gpu-group": Check(by_hand.gpu_group, 5, "sudo usermod adds an account to the group video"),
    "clocks": Check(by_hand.clocks, 5, "sudo jetson_clocks locks the clocks"),
    "memory": Check(by_hand.memory, 5),
}


def claims() -> dict[str, Claim]:
    """The claims by their identifiers, in the order of their checks."""
    by_id = {claim.id: claim for claim in CLAIMS}
    return {name: by_id[name] for name in CHECKS}
