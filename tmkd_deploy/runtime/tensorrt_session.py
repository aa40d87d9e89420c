"""TensorRT's Python module, `tensorrt` or `tensorrt_rtx`: loading it, and running an engine.

One source serves TensorRT 8.5, 8.6, 10, 11 and RTX, by checking what the release offers. Running an
engine is tested only with stand-ins for the GPU; loading, refusing and building without a GPU are
tested with the real TensorRT-RTX.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import threading
from typing import TYPE_CHECKING, Any

from tmkd_deploy.runtime import gpu_access
from tmkd_deploy.runtime.cuda_runtime import Cuda
from tmkd_deploy.runtime.engine_errors import (
    EngineError,
    EngineMemoryError,
    NoClassifierError,
    RejectedEngineError,
    RuntimeUnusableError,
)

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from tmkd_deploy.runtime.session_options import SessionOptions

TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
# by TensorRT's names, because its own `nptype` fails with newer numpy
_TYPES = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8"}


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


def open_session(runtime: str, engine: bytes | Path, options: SessionOptions) -> TensorRTSession:
    """Load an engine onto the GPU; see `runtimes.open_session`.

    A plan is code for the driver: open only one that this user's own machine built, or whose
    origin is trusted.
    """
    plan = engine if isinstance(engine, bytes) else engine.read_bytes()
    return TensorRTSession(runtime, plan, options.dla_core)


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


def failure(kind: type[EngineError], problem: str, log: Log, advice: str) -> EngineError:
    """An error of a kind with the library's own message, or that memory is short if it says so."""
    words = log.reason()
    if "outofmemory" in words.lower().replace(" ", ""):
        return EngineMemoryError(
            f"{problem} {words}",
            "Close other programs on the device (a desktop takes about 1 GB), add swap space, or "
            "lower the workspace.",
        )
    return kind(f"{problem} {words}", advice)


class TensorRTSession:
    """An engine on the GPU as `runtimes.Session` describes it; images go in one at a time.

    Threads take turns at one execution context: the GPU runs one small engine at a time anyway, and
    a context for each thread would need its own memory and its own warm-up.

    `dla_core` is the core that runs an engine built for the DLA; None runs it on the GPU.

    Raises:
        RuntimeUnusableError: TensorRT or the CUDA runtime does not start.
        RejectedEngineError: TensorRT rejects the engine.
        EngineMemoryError: it does not fit.
        ImportError: the runtime is not installed for this Python.
    """

    def __init__(self, runtime: str, plan: bytes, dla_core: int | None = None) -> None:
        trt = load(runtime)
        self._cuda = Cuda()
        self._cuda.spin()  # before anything starts to use the GPU
        log = logger(trt)
        try:
            self._runtime = trt.Runtime(log)
        except TypeError as error:  # raised for a null pointer, as by `Builder`
            problem = f"{TITLES[runtime]} cannot start:"
            raise failure(RuntimeUnusableError, problem, log, gpu_access.advice()) from error
        if dla_core is not None:
            self._runtime.DLA_core = dla_core
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise failure(
                RejectedEngineError,
                f"{TITLES[runtime]} {trt.__version__} rejects the engine:",
                log,
                "Build the engine again on this device.",
            )
        if not hasattr(self._engine, "num_io_tensors"):
            raise RuntimeUnusableError(
                f"TensorRT {trt.__version__} can build engines, but only 8.5 and newer run them.",
                "Flash JetPack 5.1 or later.",
            )
        self._lock = threading.Lock()
        self._find_ends(trt)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            problem = "The engine cannot create an execution context:"
            raise failure(EngineError, problem, log, "")
        self._stream = self._cuda.stream()
        self._started, self._ended = self._cuda.event(), self._cuda.event()
        self._buffers: dict[str, _Buffer] = {}
        self._allocate()

    def _find_ends(self, trt: Any) -> None:
        """Find the engine's input and output, which must be images and logits."""
        engine = self._engine
        names = [engine.get_tensor_name(at) for at in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        ends = [*inputs, *(name for name in names if name not in inputs)]
        kinds = [engine.get_tensor_dtype(name).name for name in ends]
        shapes = [tuple(engine.get_tensor_shape(name)) for name in ends]
        free = (-1, 1)
        if not (
            (len(inputs), len(ends)) == (1, 2)
            and (kinds[0], kinds[1] in ("FLOAT", "HALF")) == ("UINT8", True)
            and (len(shapes[0]), len(shapes[1]), shapes[0][3:]) == (4, 2, (3,))
            and shapes[0][0] in free
            and min(*shapes[0][1:], shapes[1][1]) > 0
        ):
            found = [f"{kind} {list(shape)}" for kind, shape in zip(kinds, shapes)]
            raise NoClassifierError(" and ".join(found) or "neither")
        self._input, self._output = ends
        _, height, width, channels = shapes[0]
        self.input_shape: tuple[int, int, int] = (height, width, channels)
        self.classes: int = shapes[1][1]

    def infer(self, images: np.ndarray) -> np.ndarray:
        """Raw pixels uint8 [N, H, W, 3] to logits [N, C] as the engine has them, host to host."""
        import numpy as np  # noqa: PLC0415 - probing a device must not need it

        with self._lock:
            if len(images) == 1:
                return self._infer_one(images)
            singles = (images[at : at + 1] for at in range(len(images)))
            return np.concatenate([self._infer_one(single) for single in singles])

    def _infer_one(self, images: np.ndarray) -> np.ndarray:
        images_in, logits_out = self._buffers[self._input], self._buffers[self._output]
        images_in.array[...] = images
        self._cuda.copy_in(images_in.device, images_in.host, images_in.array.nbytes, self._stream)
        self._cuda.record(self._started, self._stream)
        if not self._context.execute_async_v3(self._stream):
            raise EngineError("The engine failed while running.", "Build it again.")
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
        with contextlib.suppress(AttributeError, EngineError):
            self.close()

    def _allocate(self) -> None:
        self._context.set_input_shape(self._input, (1, *self.input_shape))
        for name in (self._input, self._output):
            kind = _TYPES[self._engine.get_tensor_dtype(name).name]
            buffer = _Buffer(self._cuda, tuple(self._context.get_tensor_shape(name)), kind)
            self._context.set_tensor_address(name, buffer.device)
            self._buffers[name] = buffer


class _Buffer:
    """A tensor's memory on the GPU and on the host; `array` views the host's."""

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], kind: str) -> None:
        import numpy as np  # noqa: PLC0415 - as above

        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        self.device = cuda.device_memory(size)
        self.host = cuda.host_memory(size)
        memory = (ctypes.c_byte * size).from_address(self.host)
        self.array = np.frombuffer(memoryview(memory), dtype=kind).reshape(shape)
