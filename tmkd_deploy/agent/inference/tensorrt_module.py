"""TensorRT's Python module, `tensorrt` or `tensorrt_rtx`: loading it, and running an engine.

One source serves TensorRT 8.5, 8.6, 10, 11 and RTX, by checking what the release offers. Running an
engine is tested only with stand-ins for the GPU; loading, refusing and building without a GPU are
tested with the real TensorRT-RTX.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmkd_deploy.agent.agent_errors import ENVIRONMENT, OUT_OF_MEMORY, AgentError
from tmkd_deploy.agent.build import preflight
from tmkd_deploy.agent.inference.cudart import Cuda
from tmkd_deploy.agent.telemetry import gpu_access

if TYPE_CHECKING:
    import numpy as np

TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
# by TensorRT's names, because its own `nptype` fails with newer numpy
_TYPES = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8", "INT8": "int8", "INT32": "int32"}


def load(runtime: str) -> Any:
    """The module of `tensorrt` or `tensorrt_rtx`.

    Raises:
        ImportError: it is not installed for this Python.
    """
    return importlib.import_module(runtime)


def version(runtime: str) -> str:
    """The installed version, such as 10.3.0; errors as `load`."""
    found: str = load(runtime).__version__
    return found


def open_session(
    runtime: str, engine: Path, threads: int, precise_int8: bool | None
) -> TensorRTSession:
    """Load an engine onto the GPU; `threads` and `precise_int8` have no effect.

    Raises:
        AgentError: `environment`: it was built for another GPU or release (known before loading if
            it has a manifest), or cannot be loaded; `data`: its manifest is damaged;
            `out_of_memory`: it does not fit.
        ImportError: the runtime is not installed for this Python.
    """
    sidecar = preflight.read_sidecar(engine)
    dla_core = None
    if sidecar is not None:
        here = preflight.CurrentDevice(version(runtime), f"SM{Cuda().compute_capability()}")
        preflight.require_compatible(sidecar, here)
        dla_core = sidecar["dla"]["core"]
    return TensorRTSession(runtime, engine, dla_core)


class Log:
    """The library's log, line by line, and its errors separately."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []

    def clear(self) -> None:
        """Delete everything logged so far."""
        self.lines.clear()
        self.errors.clear()

    def reason(self) -> str:
        """The errors on one line, for a message."""
        return "; ".join(self.errors) or "it gives no reason."


_logs: dict[str, Any] = {}


def logger(trt: Any) -> Any:
    """The process's only logger for this module, emptied: a `Log` that is also an `ILogger`.

    There is only one because the library keeps the first logger that it is given.
    """
    if trt.__name__ not in _logs:

        class Logger(Log, trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                Log.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                self.lines.extend(message.splitlines())
                if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                    self.errors.append(message.strip())

        _logs[trt.__name__] = Logger()
    _logs[trt.__name__].clear()
    return _logs[trt.__name__]


def failure(problem: str, log: Log, where: str | None, advice: str) -> AgentError:
    """An error with the library's own message; `out_of_memory` if that is what it says."""
    words = log.reason()
    if "outofmemory" in words.lower().replace(" ", ""):
        return AgentError(
            OUT_OF_MEMORY,
            f"{problem} {words}",
            where,
            "Close other programs on the device (a desktop takes about 1 GB), add swap space, or "
            "lower the workspace.",
        )
    return AgentError(ENVIRONMENT, f"{problem} {words}", where, advice)


class TensorRTSession:
    """An engine loaded onto the GPU, for batches of one.

    `dla_core` is the core that runs an engine built for the DLA; None runs it on the GPU.

    Raises:
        AgentError: `environment`: the CUDA runtime or the engine cannot be loaded;
            `out_of_memory`: it does not fit.
        ImportError: the runtime is not installed for this Python.
    """

    def __init__(self, runtime: str, engine: Path, dla_core: int | None = None) -> None:
        trt = load(runtime)
        self._cuda = Cuda()
        self._cuda.spin()  # before anything starts to use the GPU
        log = logger(trt)
        try:
            self._runtime = trt.Runtime(log)
        except TypeError as error:  # raised for a null pointer, as by `Builder`
            raise failure(
                f"{TITLES[runtime]} cannot start:", log, None, gpu_access.advice()
            ) from error
        if dla_core is not None:
            self._runtime.DLA_core = dla_core
        self._engine = self._runtime.deserialize_cuda_engine(engine.read_bytes())
        if self._engine is None:
            raise failure(
                f"{TITLES[runtime]} {trt.__version__} rejects the engine:",
                log,
                str(engine),
                "Build the engine again on this device.",
            )
        if not hasattr(self._engine, "num_io_tensors"):
            raise AgentError(
                ENVIRONMENT,
                f"TensorRT {trt.__version__} can build engines, but only 8.5 and newer run them.",
                None,
                "Flash JetPack 5.1 or later.",
            )
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise failure("The engine cannot create an execution context:", log, str(engine), "")
        names = [self._engine.get_tensor_name(at) for at in range(self._engine.num_io_tensors)]
        inputs = [
            name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        ]
        (self._input,) = inputs
        (self._output,) = (name for name in names if name not in inputs)
        self._stream = self._cuda.stream()
        self._started, self._ended = self._cuda.event(), self._cuda.event()
        self._buffers: dict[str, _Buffer] = {}

    def infer(self, images: np.ndarray) -> np.ndarray:
        """Raw pixels uint8 [1, H, W, 3] to logits [1, C] as the engine has them, host to host."""
        if not self._buffers:
            self._allocate(images.shape)
        images_in, logits_out = self._buffers[self._input], self._buffers[self._output]
        images_in.array[...] = images
        self._cuda.copy_in(images_in.device, images_in.host, images_in.array.nbytes, self._stream)
        self._cuda.record(self._started, self._stream)
        if not self._context.execute_async_v3(self._stream):
            raise AgentError(
                ENVIRONMENT, "The engine failed while running.", None, "Build it again."
            )
        self._cuda.record(self._ended, self._stream)
        self._cuda.copy_out(
            logits_out.host, logits_out.device, logits_out.array.nbytes, self._stream
        )
        self._cuda.wait(self._stream)
        # a copy, because the buffer is reused
        logits: np.ndarray = logits_out.array.copy()
        return logits

    def device_ms(self) -> float:
        """The GPU's own time for the last `infer`, without the copies, in milliseconds."""
        return self._cuda.milliseconds(self._started, self._ended)

    def close(self) -> None:
        """Free the memory; the session cannot be used afterwards."""
        for buffer in self._buffers.values():
            self._cuda.free(buffer.device, buffer.host)
        self._buffers = {}
        self._cuda.destroy(self._stream, (self._started, self._ended))

    def __del__(self) -> None:
        # a session that failed to open has nothing to free, and the library may be gone by now
        with contextlib.suppress(AttributeError, AgentError):
            self.close()

    def _allocate(self, shape: tuple[int, ...]) -> None:
        self._context.set_input_shape(self._input, shape)
        for name in (self._input, self._output):
            kind = _TYPES[self._engine.get_tensor_dtype(name).name]
            buffer = _Buffer(self._cuda, tuple(self._context.get_tensor_shape(name)), kind)
            self._context.set_tensor_address(name, buffer.device)
            self._buffers[name] = buffer


class _Buffer:
    """A tensor's memory on the GPU and on the host; `array` views the host's."""

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], kind: str) -> None:
        import numpy as np

        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        self.device = cuda.device_memory(size)
        self.host = cuda.host_memory(size)
        memory = (ctypes.c_byte * size).from_address(self.host)
        self.array = np.frombuffer(memoryview(memory), dtype=kind).reshape(shape)
