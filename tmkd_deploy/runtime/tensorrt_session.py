"""TensorRT or TensorRT-RTX: running an engine on the GPU.

One source serves TensorRT 8.5, 8.6, 10, 11 and RTX, by checking what the release offers. Running an
engine is tested only with stand-ins for the GPU; loading, refusing and building without a GPU are
tested with the real TensorRT-RTX.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

from tmkd_deploy.runtime import cuda_graph, gpu_access, tensorrt_library
from tmkd_deploy.runtime.cuda_buffer import CudaBuffer
from tmkd_deploy.runtime.cuda_runtime import Cuda
from tmkd_deploy.runtime.engine_errors import (
    EngineError,
    NoClassifierError,
    RejectedEngineError,
    RuntimeUnusableError,
)
from tmkd_deploy.runtime.tensorrt_library import TITLES, failure

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from tmkd_deploy.runtime.session_options import SessionOptions

# by TensorRT's names, because its own `nptype` fails with newer numpy
_TYPES = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8"}


def open_session(runtime: str, engine: bytes | Path, options: SessionOptions) -> TensorRTSession:
    """Load an engine onto the GPU; see `runtimes.open_session`.

    A plan is code for the driver: open only one that this user's own machine built, or whose
    origin is trusted.
    """
    plan = engine if isinstance(engine, bytes) else engine.read_bytes()
    return TensorRTSession(runtime, plan, options.dla_core)


class TensorRTSession:
    """An engine on the GPU as `runtimes.Session` describes it; images go in one at a time.

    Threads take turns at one execution context: the GPU runs one small engine at a time anyway, and
    a context for each thread would need its own memory and its own warm-up.

    After one plain run, copies and engine are recorded as a CUDA graph, which every `infer` then
    starts by a single call. Where that fails, the work is enqueued piece by piece.

    `dla_core` is the core that runs an engine built for the DLA; None runs it on the GPU.

    Attributes:
        graph_problem: why no CUDA graph is used; None if one is.

    Raises:
        RuntimeUnusableError: TensorRT or the CUDA runtime does not start.
        EngineError: the engine fails in its first run.
        RejectedEngineError: TensorRT rejects the engine.
        EngineMemoryError: it does not fit.
        ImportError: the runtime is not installed for this Python.
    """

    def __init__(self, runtime: str, plan: bytes, dla_core: int | None = None) -> None:
        trt = tensorrt_library.load(runtime)
        self._cuda = Cuda()
        self._cuda.spin()  # before anything starts to use the GPU
        self._log = log = tensorrt_library.logger(trt)
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
        self._held = contextlib.ExitStack()
        self._find_ends(trt)
        self._context = _new_context(trt, self._engine)
        if self._context is None:
            problem = "The engine cannot create an execution context:"
            raise failure(EngineError, problem, log, "")
        self._stream = self._cuda.stream()
        self._held.callback(self._cuda.destroy_stream, self._stream)
        self._started, self._ended = self._new_event(), self._new_event()
        self._enqueue_ms = 0.0
        # what a DLA, which is no part of the GPU, makes of pinned memory is not documented
        self._shared = dla_core is None and self._cuda.shares_host_memory()
        self._allocate()
        self._graph: int | None = None
        self.graph_problem: str | None = None
        self._run()
        self._capture()

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

        if images.shape[1:] != self.input_shape:  # numpy would stretch some to fit
            given, taken = list(images.shape[1:]), list(self.input_shape)
            raise EngineError(f"The engine takes images of {taken}, not {given}.")
        with self._lock:
            if len(images) == 1:
                return self._infer_one(images)
            singles = (images[at : at + 1] for at in range(len(images)))
            return np.concatenate([self._infer_one(single) for single in singles])

    def _infer_one(self, images: np.ndarray) -> np.ndarray:
        self._images.array[...] = images
        self._run()
        # a copy, because the buffer is reused
        logits: np.ndarray = self._logits.array.copy()
        return logits

    def _run(self) -> None:
        """From the images' buffer to that of the logits."""
        begun = time.perf_counter_ns()
        if self._graph is None:
            self._enqueue()
        else:
            self._cuda.launch(self._graph, self._stream)
        self._enqueue_ms = (time.perf_counter_ns() - begun) / 1e6
        self._cuda.wait(self._stream)

    def _enqueue(self, captured: bool = False) -> None:
        """Copy in, run the engine between two events, and copy out, in the stream."""
        self._images.copy_in(self._stream)
        self._cuda.record(self._started, self._stream, captured)
        if not self._context.execute_async_v3(self._stream):
            raise EngineError("The engine failed while running.", "Build it again.")
        self._cuda.record(self._ended, self._stream, captured)
        self._logits.copy_out(self._stream)

    def _capture(self) -> None:
        try:
            self._graph = cuda_graph.capture(
                self._cuda, self._stream, lambda: self._enqueue(captured=True)
            )
        except EngineError as error:
            self.graph_problem = error.problem
        else:
            self._held.callback(self._cuda.destroy_graph, self._graph)

    def device_ms(self) -> float:
        """The GPU's own time for the last `infer`, without the copies, in milliseconds."""
        return self._cuda.milliseconds(self._started, self._ended)

    def enqueue_ms(self) -> float:
        """The host's time to start the last `infer` of an image, in milliseconds.

        As trtexec's "Enqueue Time": if it is longer than `device_ms`, the GPU waits for the host.
        """
        return self._enqueue_ms

    def close(self) -> None:
        """Free the memory; the session cannot be used afterwards."""
        with self._lock:
            self._held.close()
            self._context = self._engine = self._runtime = None

    def __del__(self) -> None:
        # a session that failed to open has nothing to free, and the library may be gone by now
        with contextlib.suppress(AttributeError, EngineError):
            self.close()

    def _new_event(self) -> int:
        event = self._cuda.event()
        self._held.callback(self._cuda.destroy_event, event)
        return event

    def _allocate(self) -> None:
        if not self._context.set_input_shape(self._input, (1, *self.input_shape)):
            problem = "The engine does not take one image at a time:"
            raise failure(RejectedEngineError, problem, self._log, "Build the engine again.")
        self._images, self._logits = self._buffer(self._input), self._buffer(self._output)

    def _buffer(self, name: str) -> CudaBuffer:
        kind = _TYPES[self._engine.get_tensor_dtype(name).name]
        shape = tuple(self._context.get_tensor_shape(name))
        buffer = CudaBuffer(self._cuda, shape, kind, self._shared, self._held)
        self._context.set_tensor_address(name, buffer.device)
        return buffer


def _new_context(trt: Any, engine: Any) -> Any:
    """An execution context; None if there is not enough memory, as the log then says.

    TensorRT-RTX compiles kernels for a dynamic batch in the background and runs slower ones until
    then, which a graph would keep for ever; it is told to compile first.
    """
    strategy = getattr(trt, "DynamicShapesKernelSpecializationStrategy", None)
    if strategy is None:
        return engine.create_execution_context()
    config = engine.create_runtime_config()
    config.dynamic_shapes_kernel_specialization_strategy = strategy.EAGER
    return engine.create_execution_context(config)
