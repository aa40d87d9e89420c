"""How ONNX Runtime computes INT8 on a processor, as `doctor` states it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tmkd_deploy.targets.finding import Finding

SUBJECT = "INT8 arithmetic"
_REMEDY = "Compare INT8 with FP32 on this processor: tmkd-deploy validate"


def int8_findings(info: dict[str, Any]) -> Iterator[Finding]:
    """At most one finding for a machine, from what `cpu.arithmetic_support` reports of it.

    Nothing is stated about a processor that reports nothing.
    """
    if info["precise_int8"]:
        has = "VNNI unknown" if info["vnni"] is None else "no VNNI"
        found = f"{has}; ONNX Runtime uses its precise INT8 mode, which is slower"
        yield Finding(SUBJECT, "warning", found, _REMEDY)
    elif info["vnni"]:
        yield Finding(SUBJECT, "ok", "VNNI; ONNX Runtime uses its fast INT8 mode")
    elif info["arm_dot_product"]:
        found = "Arm dot-product instructions; ONNX Runtime uses its fast INT8 mode"
        yield Finding(SUBJECT, "ok", found)
    elif info["arm_dot_product"] is False:
        found = "no Arm dot-product instructions; ONNX Runtime uses its fast INT8 mode without them"
        yield Finding(SUBJECT, "warning", found, _REMEDY)
