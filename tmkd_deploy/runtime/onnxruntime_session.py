"""Create ONNX Runtime sessions, identically for measurements and applications."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

from tmkd_deploy.runtime.onnx_check import refuse_unsafe

if TYPE_CHECKING:
    import onnxruntime

CPUINFO = Path("/proc/cpuinfo")
_VNNI_FLAGS = {"avx512_vnni", "avx512vnni", "avx_vnni", "avxvnni"}
_X86 = {"x86_64", "amd64", "i386", "i686", "x86"}


def create_session(
    model: bytes | str, *, threads: int, precise_int8: bool | None = None
) -> onnxruntime.InferenceSession:
    """Open an ONNX model on the CPU, if it is safe to.

    Args:
        model: the model's bytes, or the path of its file.
        threads: threads within an operator, at least 1; operators run sequentially.
        precise_int8: use integer arithmetic that cannot saturate; None decides by the processor.

    Raises:
        ImportError: ONNX Runtime is not installed.
        UnsafeModelError: as `refuse_unsafe`.
    """
    import onnxruntime  # noqa: PLC0415 - optional dependency

    refuse_unsafe(model)
    options = session_options(threads=threads, precise_int8=precise_int8)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def session_options(
    *, threads: int, precise_int8: bool | None = None
) -> onnxruntime.SessionOptions:
    """The session options of `create_session`, with the same arguments and errors."""
    import onnxruntime  # noqa: PLC0415 - optional dependency

    if precise_int8 is None:
        precise_int8 = precise_int8_default()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # otherwise the bytes may turn out to be of ONNX Runtime's own format, which is not checked
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # spinning threads would take CPU time from other programs on a small device
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if precise_int8:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def precise_int8_default() -> bool:
    """Whether this processor's fast INT8 arithmetic may saturate and must be avoided.

    An x86 processor without VNNI adds pairs of 8-bit products in 16 bits, where large sums saturate
    and cost whole points of accuracy. So may an x86 processor whose features are unknown.
    """
    return _is_x86() and has_vnni() is not True


def _is_x86() -> bool:
    return platform.machine().lower() in _X86


def has_vnni(cpuinfo: Path | None = None) -> bool | None:
    """Whether an x86 processor has VNNI; None if that is unknown, or it is not an x86 processor.

    Arm's dot-product instructions are another thing, and do not saturate. An emulated processor may
    see the flags of its x86 host, so the architecture decides first.
    """
    if not _is_x86():
        return None
    try:
        lines = (cpuinfo or CPUINFO).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return not _VNNI_FLAGS.isdisjoint(value.split())
    return None
