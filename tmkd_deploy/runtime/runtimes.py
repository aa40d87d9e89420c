"""The runtimes by name; each is one file of this package.

To add one, write `<runtime>_session.py` with the two functions of a `Runtime` and add its line
below. These files run on devices as well, whose Python may be as old as 3.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, NamedTuple

from tmkd_deploy.runtime import (
    onnxruntime_session,
    openvino_session,
    tensorrt_library,
    tensorrt_session,
)
from tmkd_deploy.runtime.engine_machine import EngineMachine
from tmkd_deploy.runtime.session_options import SessionOptions

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Protocol

    import numpy as np

    class Session(Protocol):
        """An engine that is open and ready to run; safe to share between threads.

        If the runtime can time its device separately, there is also `device_ms() -> float`: the
        milliseconds of the last `infer` between events on the device.

        Attributes:
            input_shape: height, width and channels of an image.
            classes: the number of logits.
        """

        input_shape: tuple[int, int, int]
        classes: int

        def infer(self, images: np.ndarray) -> np.ndarray:
            """Raw pixels, uint8 [N, H, W, 3], N >= 1, to logits, floating point [N, C] if the
            engine is sound; both in host memory.

            Raises:
                EngineError: the engine fails.
            """

        def close(self) -> None:
            """Free what the engine holds; it cannot be used afterwards."""


class Runtime(NamedTuple):
    """A runtime.

    Attributes:
        title: its name in messages.
        install: how an application installs its package.
        open_session: opens an engine's bytes, or the file at a path, with a runtime of this name.
        version: of the installed runtime of this name.
        machine: what ties its engines to this machine; None if they run on any.
    """

    title: str
    install: str
    open_session: Callable[[str, bytes | Path, SessionOptions], Session]
    version: Callable[[str], str]
    machine: Callable[[str], EngineMachine] | None = None


RUNTIMES = {
    "onnxruntime": Runtime(
        "ONNX Runtime",
        "pip install 'tmkd-deploy[onnxruntime]'",
        onnxruntime_session.open_session,
        onnxruntime_session.version,
    ),
    "openvino": Runtime(
        "OpenVINO",
        "pip install 'tmkd-deploy[openvino]'",
        openvino_session.open_session,
        openvino_session.version,
    ),
    "tensorrt": Runtime(
        "TensorRT",
        "sudo apt-get install python3-libnvinfer (on a Jetson), or "
        "pip install 'tmkd-deploy[tensorrt]'",
        tensorrt_session.open_session,
        tensorrt_library.version,
        tensorrt_library.machine,
    ),
    "tensorrt_rtx": Runtime(
        "TensorRT-RTX",
        "pip install 'tmkd-deploy[tensorrt-rtx]'",
        tensorrt_session.open_session,
        tensorrt_library.version,
        tensorrt_library.machine,
    ),
}


def open_session(runtime: str, engine: bytes | Path, options: SessionOptions) -> Session:
    """Open an engine's bytes, or the file at a path, with a runtime of `RUNTIMES`.

    Raises:
        ImportError: the runtime is not installed.
        UnsafeModelError: the engine is an ONNX model that is not safe to open.
        EngineError: the runtime does not start or does not open the engine; see the subclasses.
        KeyError: there is no such runtime.
    """
    return RUNTIMES[runtime].open_session(runtime, engine, options)
