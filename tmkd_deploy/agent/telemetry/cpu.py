"""The processor, and the arithmetic that it offers to engines.

`vnni`, `precise_int8` and `bf16` come from the module that opens the sessions, so what is reported
is what the sessions do.
"""

from __future__ import annotations

import platform
import re

from tmkd_deploy.agent.telemetry.system_files import text
from tmkd_deploy.runtime import onnxruntime_session


def processor() -> str | None:
    """The processor's name; None if the kernel does not give one."""
    return parse_processor(_cpuinfo())


def arithmetic_support() -> dict[str, bool | None]:
    """What the processor offers for INT8 and BF16, and what ONNX Runtime's sessions make of it.

    Returns:
        `vnni`: whether an x86 processor has VNNI; `arm_dot_product`: whether an Arm processor has
        its dot-product instructions; each is None on the other architecture, or if unknown.
        `precise_int8`: whether sessions use the slower arithmetic that cannot saturate.
        `bf16`: whether an x86 processor computes in BF16; None on Arm, or if unknown.
    """
    return {
        "vnni": onnxruntime_session.has_vnni(),
        "arm_dot_product": parse_arm_dot_product(_cpuinfo()) if _is_arm() else None,
        "precise_int8": onnxruntime_session.precise_int8_default(),
        "bf16": onnxruntime_session.has_bf16(),
    }


def parse_processor(cpuinfo: str) -> str | None:
    """The processor's name in the text of /proc/cpuinfo."""
    found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found.group(1).strip() if found else None


def parse_arm_dot_product(cpuinfo: str) -> bool | None:
    """Whether /proc/cpuinfo's text lists Arm's `asimddp`; None if it lists no Arm features."""
    found = re.search(r"^Features\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return "asimddp" in found.group(1).split() if found else None


def _is_arm() -> bool:
    return platform.machine().lower() in ("aarch64", "arm64")


def _cpuinfo() -> str:
    return text(onnxruntime_session.CPUINFO) or ""
