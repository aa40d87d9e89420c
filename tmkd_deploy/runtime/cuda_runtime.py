"""The few functions of the CUDA runtime that inference needs, through ctypes.

TensorRT's Python module neither allocates memory nor copies it, and devices need not have another
package that does. Tested without a GPU: finding the library, its errors, and the calls, against a
stand-in library with the same functions (tests/unit/agent). Untested on a real GPU.
Source: CUDA Runtime API reference, https://docs.nvidia.com/cuda/cuda-runtime-api/
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any, Iterator

from tmkd_deploy.runtime import gpu_access
from tmkd_deploy.runtime.engine_errors import EngineMemoryError, RuntimeUnusableError

LIBRARY_VARIABLE = "TMKD_DEPLOY_CUDART"

_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation
_MAJOR, _MINOR = 75, 76  # cudaDevAttrComputeCapabilityMajor and Minor
_HOST_TO_DEVICE = 1  # cudaMemcpyHostToDevice
_DEVICE_TO_HOST = 2  # cudaMemcpyDeviceToHost
_SPIN = 1  # cudaDeviceScheduleSpin
_INTEGRATED, _CAN_MAP = 18, 19  # cudaDevAttrIntegrated and cudaDevAttrCanMapHostMemory
_MAPPED = 2  # cudaHostAllocMapped
_THREAD_LOCAL = 1  # cudaStreamCaptureModeThreadLocal
_EXTERNAL = 1  # cudaEventRecordExternal
_NAMES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0")


class Cuda:
    """The CUDA runtime of this machine.

    Raises:
        RuntimeUnusableError: the library is not installed.
    """

    def __init__(self) -> None:
        self._library = _open()
        self._library.cudaGetErrorString.restype = ctypes.c_char_p

    def compute_capability(self) -> int:
        """The compute capability of the first GPU, such as 87.

        Raises:
            RuntimeUnusableError: there is no GPU, or no driver for it.
        """
        return 10 * self._attribute(_MAJOR) + self._attribute(_MINOR)

    def spin(self) -> None:
        """Wait for the GPU by spinning from now on, instead of as CUDA sees fit.

        Its default may let the thread sleep, above all on a Jetson, and waking up takes longer than
        a small engine. Older releases refuse once the GPU is in use, as by an earlier session,
        which has then chosen this already.
        """
        self._library.cudaSetDeviceFlags(ctypes.c_uint(_SPIN))
        self._library.cudaGetLastError()  # a refusal is no error of whoever calls CUDA next

    def stream(self) -> int:
        """A new stream, which runs its work in order."""
        return self._made("cudaStreamCreate", ctypes.c_void_p())

    def event(self) -> int:
        """A new event, which marks a point in a stream."""
        return self._made("cudaEventCreate", ctypes.c_void_p())

    def device_memory(self, size: int) -> int:
        """The address of `size` bytes on the GPU."""
        return self._made("cudaMalloc", ctypes.c_void_p(), ctypes.c_size_t(size))

    def host_memory(self, size: int) -> int:
        """The address of `size` bytes of pinned host memory, which the GPU may use as well."""
        handle = ctypes.c_void_p()
        return self._made("cudaHostAlloc", handle, ctypes.c_size_t(size), ctypes.c_uint(_MAPPED))

    def shares_host_memory(self) -> bool:
        """Whether the GPU is part of the processor and uses the host's memory."""
        return bool(self._attribute(_INTEGRATED) and self._attribute(_CAN_MAP))

    def device_address(self, host: int) -> int:
        """The address of pinned host memory for the GPU."""
        handle = ctypes.c_void_p()
        arguments = (ctypes.c_void_p(host), ctypes.c_uint(0))
        return self._made("cudaHostGetDevicePointer", handle, *arguments)

    def free_device(self, device: int) -> None:
        """Free memory on the GPU."""
        self._call("cudaFree", ctypes.c_void_p(device))

    def free_host(self, host: int) -> None:
        """Free pinned host memory."""
        self._call("cudaFreeHost", ctypes.c_void_p(host))

    def destroy_stream(self, stream: int) -> None:
        """Destroy a stream."""
        self._call("cudaStreamDestroy", ctypes.c_void_p(stream))

    def destroy_event(self, event: int) -> None:
        """Destroy an event."""
        self._call("cudaEventDestroy", ctypes.c_void_p(event))

    def copy_in(self, device: int, host: int, size: int, stream: int) -> None:
        """Copy `size` bytes from the host to the GPU, in the stream."""
        self._copy(device, host, size, _HOST_TO_DEVICE, stream)

    def copy_out(self, host: int, device: int, size: int, stream: int) -> None:
        """Copy `size` bytes from the GPU to the host, in the stream."""
        self._copy(host, device, size, _DEVICE_TO_HOST, stream)

    def record(self, event: int, stream: int, captured: bool = False) -> None:
        """Record an event at the end of the stream's work so far.

        With `captured`, during a capture, each launch of the graph records it.
        """
        handles = (ctypes.c_void_p(event), ctypes.c_void_p(stream))
        if captured:
            self._call("cudaEventRecordWithFlags", *handles, ctypes.c_uint(_EXTERNAL))
        else:
            self._call("cudaEventRecord", *handles)

    def begin_capture(self, stream: int) -> None:
        """From now on, record the stream's work instead of running it.

        What other threads do with CUDA meanwhile is not restricted.
        """
        self._call("cudaStreamBeginCapture", ctypes.c_void_p(stream), ctypes.c_int(_THREAD_LOCAL))

    def abandon_capture(self, stream: int) -> None:
        """End a capture, dropping what was recorded; never fails."""
        graph = ctypes.c_void_p()
        self._library.cudaStreamEndCapture(ctypes.c_void_p(stream), ctypes.byref(graph))
        if graph:
            self._library.cudaGraphDestroy(graph)
        self._library.cudaGetLastError()  # which would otherwise be reported by a later call

    def graph(self, stream: int) -> int:
        """End a capture; returns what was recorded, ready to launch."""
        graph = ctypes.c_void_p()
        try:
            self._call("cudaStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
            # since CUDA 11.4; the function without this suffix has other arguments before CUDA 12
            name, no_flags = "cudaGraphInstantiateWithFlags", ctypes.c_ulonglong(0)
            return self._made(name, ctypes.c_void_p(), graph, no_flags)
        except RuntimeUnusableError:
            self._library.cudaGetLastError()  # as above
            raise
        finally:
            if graph:
                self._library.cudaGraphDestroy(graph)

    def launch(self, graph: int, stream: int) -> None:
        """Run a graph, in the stream."""
        self._call("cudaGraphLaunch", ctypes.c_void_p(graph), ctypes.c_void_p(stream))

    def destroy_graph(self, graph: int) -> None:
        """Destroy a graph that `graph` returned."""
        self._call("cudaGraphExecDestroy", ctypes.c_void_p(graph))

    def wait(self, stream: int) -> None:
        """Wait until the stream has finished all its work."""
        self._call("cudaStreamSynchronize", ctypes.c_void_p(stream))

    def milliseconds(self, start: int, end: int) -> float:
        """The time between two recorded events, with a resolution of about 0.5 us."""
        elapsed = ctypes.c_float()
        self._call(
            "cudaEventElapsedTime",
            ctypes.byref(elapsed),
            ctypes.c_void_p(start),
            ctypes.c_void_p(end),
        )
        return elapsed.value

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int()
        self._call(
            "cudaDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(number), ctypes.c_int(0)
        )
        return value.value

    def _copy(self, target: int, source: int, size: int, kind: int, stream: int) -> None:
        self._call(
            "cudaMemcpyAsync",
            ctypes.c_void_p(target),
            ctypes.c_void_p(source),
            ctypes.c_size_t(size),
            ctypes.c_int(kind),
            ctypes.c_void_p(stream),
        )

    def _made(self, name: str, handle: ctypes.c_void_p, *arguments: Any) -> int:
        self._call(name, ctypes.byref(handle), *arguments)
        return handle.value or 0

    def _call(self, name: str, *arguments: Any) -> None:
        try:
            function = getattr(self._library, name)
        except AttributeError as error:
            raise RuntimeUnusableError(
                f"The CUDA runtime on this device has no {name}.", "Install CUDA 11.4 or newer."
            ) from error
        status = function(*arguments)
        if status != 0:
            words = self._library.cudaGetErrorString(status).decode("utf-8", "replace")
            problem = f"CUDA failed in {name}: {words} (error {status})."
            if status == _OUT_OF_MEMORY:
                raise EngineMemoryError(
                    problem, "Close other programs that use the GPU, then try again."
                )
            raise RuntimeUnusableError(problem, gpu_access.advice())


def _open() -> ctypes.CDLL:
    for name in _candidates():
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise RuntimeUnusableError(
        "The CUDA runtime (libcudart) is not installed on this device; running TensorRT engines "
        "from Python needs it.",
        "Install it on the device: sudo apt install nvidia-cuda. If it is installed, set "
        f"{LIBRARY_VARIABLE} to the library's path.",
    )


def _candidates() -> Iterator[str]:
    named = os.environ.get(LIBRARY_VARIABLE)
    if named:
        yield named
        return
    yield from _NAMES  # on the loader's own path
    # where JetPack installs it, then where PyPI's packages do
    for pattern in ("cuda/lib64", "cuda*/targets/*/lib"):
        yield from _in(Path("/usr/local"), pattern)
    for folder in sys.path:
        yield from _in(Path(folder), "nvidia/*/lib")


def _in(root: Path, pattern: str) -> list[str]:
    return sorted((str(path) for path in root.glob(pattern + "/libcudart.so.*")), reverse=True)
