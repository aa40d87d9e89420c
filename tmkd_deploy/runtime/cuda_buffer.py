"""A tensor's memory, on the GPU and on the host."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from tmkd_deploy.runtime.cuda_runtime import Cuda

if TYPE_CHECKING:
    import contextlib


class CudaBuffer:
    """Pinned host memory, and memory on the GPU that it is copied to or from.

    An integrated GPU, as a Jetson's, reads and writes the host's memory itself, so there is one
    memory and nothing is copied: an image is read once, by the engine's first layer. NVIDIA's "CUDA
    for Tegra" recommends pinned memory for small buffers. Untested on a real GPU.

    Attributes:
        device: the address for the engine.
        array: a view of the host's memory.
    """

    def __init__(
        self,
        cuda: Cuda,
        shape: tuple[int, ...],
        kind: str,
        shared: bool,
        held: contextlib.ExitStack,
    ) -> None:
        """`kind` is numpy's name of the type; `held` will free the memory.

        `shared`: whether the GPU is to use the host's memory; see `Cuda.shares_host_memory`.
        """
        import numpy as np  # noqa: PLC0415 - probing a device must not need it

        self._cuda = cuda
        self._size = int(np.prod(shape)) * np.dtype(kind).itemsize
        self._shared = shared
        self._host = cuda.host_memory(self._size)
        held.callback(cuda.free_host, self._host)
        if self._shared:
            self.device = cuda.device_address(self._host)
        else:
            self.device = cuda.device_memory(self._size)
            held.callback(cuda.free_device, self.device)
        memory = (ctypes.c_byte * self._size).from_address(self._host)
        self.array = np.frombuffer(memoryview(memory), dtype=kind).reshape(shape)
        self.array[...] = 0

    def copy_in(self, stream: int) -> None:
        """Make the GPU see the array, in the stream."""
        if not self._shared:
            self._cuda.copy_in(self.device, self._host, self._size, stream)

    def copy_out(self, stream: int) -> None:
        """Make the array see what the GPU wrote, in the stream."""
        if not self._shared:
            self._cuda.copy_out(self._host, self.device, self._size, stream)
