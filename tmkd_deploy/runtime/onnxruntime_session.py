"""ONNX Runtime on the CPU, opened identically for measurements and applications."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

from tmkd_deploy.runtime.engine_errors import (
    EngineError,
    NoClassifierError,
    RejectedEngineError,
)
from tmkd_deploy.runtime.onnx_check import UnsafeModelError, refuse_unsafe

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime

    from tmkd_deploy.runtime.session_options import SessionOptions

CPUINFO = Path("/proc/cpuinfo")
_VNNI_FLAGS = {"avx512_vnni", "avx512vnni", "avx_vnni", "avxvnni"}
_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
_X86 = {"x86_64", "amd64", "i386", "i686", "x86"}


def open_session(runtime: str, engine: bytes | Path, options: SessionOptions) -> OnnxRuntimeSession:
    """Open an ONNX model; see `runtimes.open_session`."""
    model = engine if isinstance(engine, bytes) else str(engine)
    try:
        session = create_session(model, threads=options.threads, precise_int8=options.precise_int8)
    except (ImportError, UnsafeModelError, OSError):
        raise
    except Exception as error:  # ONNX Runtime's errors derive directly from Exception
        raise RejectedEngineError(
            f"ONNX Runtime {version(runtime)} rejects the model: {_words(error)}",
            "Check that this version of ONNX Runtime supports the model's opset and operators.",
        ) from error
    return OnnxRuntimeSession(session)


def version(runtime: str) -> str:
    """The installed version.

    Raises:
        ImportError: ONNX Runtime is not installed.
    """
    import onnxruntime  # noqa: PLC0415 - optional dependency

    found: str = onnxruntime.__version__
    return found


class OnnxRuntimeSession:
    """An engine as `runtimes.Session` describes it.

    ONNX Runtime's own session may be used by several threads at once.

    Raises:
        NoClassifierError: its input and output are not images and logits.
    """

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        try:
            ends = [(node.name, node.type, node.shape) for node in self._nodes()]
        except UnicodeDecodeError as error:  # names are decoded when they are asked for
            raise NoClassifierError("a name that is not valid UTF-8") from error
        found = " and ".join(f"{kind} {shape}" for _, kind, shape in ends) or "neither"
        # the type of the logits is left to those who judge them
        if len(ends) != 2 or ends[0][1] != "tensor(uint8)":
            raise NoClassifierError(found)
        (self._input, _, images), (self._output, _, logits) = ends
        sizes = [*images[1:], *logits[1:]]
        # the name of a free dimension is a text, or None if it has none
        one_by_one = images[:1] == [1]
        free = bool(images) and not isinstance(images[0], int)
        sound = (len(images), len(logits), images[3:]) == (4, 2, [3]) and (one_by_one or free)
        if not (sound and all(isinstance(size, int) for size in sizes)):
            raise NoClassifierError(found)
        self._one_by_one = one_by_one
        self.input_shape: tuple[int, int, int] = (images[1], images[2], images[3])
        self.classes: int = logits[1]

    def _nodes(self) -> list[onnxruntime.NodeArg]:
        return [*self._session.get_inputs(), *self._session.get_outputs()]

    def infer(self, images: np.ndarray) -> np.ndarray:
        """Raw pixels, uint8 [N, H, W, 3], to logits, float32 [N, C]."""
        import numpy as np  # noqa: PLC0415 - probing a device must not need it

        try:
            if not self._one_by_one or len(images) == 1:
                return self._run(images)
            singles = (images[at : at + 1] for at in range(len(images)))
            return np.concatenate([self._run(single) for single in singles])
        except Exception as error:  # as above, and of parts that differ in shape
            raise EngineError(f"The engine fails: {_words(error)}") from error

    def close(self) -> None:
        """Release the session, which frees its memory."""
        del self._session

    def _run(self, images: np.ndarray) -> np.ndarray:
        logits: np.ndarray = self._session.run([self._output], {self._input: images})[0]
        return logits


def _words(error: Exception) -> str:
    """ONNX Runtime's message on one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


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
    return _has_any(_VNNI_FLAGS, cpuinfo)


def has_bf16(cpuinfo: Path | None = None) -> bool | None:
    """Whether an x86 processor computes in BF16; None as for `has_vnni`."""
    return _has_any(_BF16_FLAGS, cpuinfo)


def _has_any(flags: set[str], cpuinfo: Path | None) -> bool | None:
    if not _is_x86():
        return None
    try:
        lines = (cpuinfo or CPUINFO).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return not flags.isdisjoint(value.split())
    return None
