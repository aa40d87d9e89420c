"""Opening an engine with any runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmkd_deploy.agent.agent_errors import REQUEST, AgentError

if TYPE_CHECKING:
    from typing import Protocol

    import numpy as np

    class Session(Protocol):
        """If the runtime can time its device separately, there is also `device_ms() -> float`: the
        milliseconds of the last `infer` between events on the device."""

        def infer(self, images: np.ndarray) -> np.ndarray:
            """Raw pixels, uint8 [1, H, W, 3], to logits, floating point [1, C] if the engine is
            sound, both in host memory."""


def open_session(runtime: str, engine: Path, threads: int, precise_int8: bool | None) -> Session:
    """Load an engine. `threads` and `precise_int8` affect CPU runtimes only.

    Raises:
        AgentError: the runtime is unknown, or rejects the engine.
        ImportError: the runtime is not installed.
    """
    session: Session = _module(runtime).open_session(runtime, engine, threads, precise_int8)
    return session


def version(runtime: str) -> str:
    """The version of an installed runtime; errors as `open_session`."""
    found: str = _module(runtime).version(runtime)
    return found


def _module(runtime: str) -> Any:
    if runtime == "onnxruntime":
        from tmkd_deploy.agent.inference import onnxruntime_cpu

        return onnxruntime_cpu
    if runtime in ("tensorrt", "tensorrt_rtx"):
        from tmkd_deploy.agent.inference import tensorrt_module

        return tensorrt_module
    raise AgentError(REQUEST, f"This agent does not support the runtime {runtime!r}.")
