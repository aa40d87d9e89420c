"""ONNX Runtime on the device's CPU, opened exactly as an application opens it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tmkd_deploy.agent.agent_errors import ENVIRONMENT, AgentError
from tmkd_deploy.runtime.onnxruntime_session import create_session

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime


class OnnxRuntimeSession:
    """A session with input and output in host memory."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name

    def infer(self, images: np.ndarray) -> np.ndarray:
        """Raw pixels, uint8 [N, H, W, 3], to logits, float32 [N, C]."""
        logits: np.ndarray = self._session.run(None, {self._input: images})[0]
        return logits


def open_session(
    runtime: str, engine: Path, threads: int, precise_int8: bool | None
) -> OnnxRuntimeSession:
    """Load an ONNX file for the CPU.

    Raises:
        AgentError: `environment`: ONNX Runtime rejects the model; its own message is included.
        ImportError: ONNX Runtime is not installed.
    """
    try:
        session = create_session(str(engine), threads=threads, precise_int8=precise_int8)
    except ImportError:
        raise
    except Exception as error:  # ONNX Runtime's exceptions have no base class but Exception
        raise AgentError(
            ENVIRONMENT,
            f"ONNX Runtime {version(runtime)} on the device rejects the model: {error}",
            advice="Check that this version of ONNX Runtime supports the model's opset.",
        ) from error
    return OnnxRuntimeSession(session)


def version(runtime: str) -> str:
    """The installed ONNX Runtime's version.

    Raises:
        ImportError: it is not installed.
    """
    import onnxruntime

    found: str = onnxruntime.__version__
    return found
