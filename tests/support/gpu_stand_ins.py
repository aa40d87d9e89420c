"""Stand-ins for a GPU, of which tests have none.

A small C library (cudart_stand_in.c) has the functions of the CUDA runtime that we call, on the
host's memory; what it proves is that we call them as they are declared, in an order that makes
sense. A module with the part of TensorRT's interface that we use runs the "engine", an ONNX file,
on the CPU.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pytest

_CALL = ctypes.CFUNCTYPE(None)


def compiled(folder: Path) -> Path:
    """The stand-in for the CUDA runtime, compiled; skips the test where there is no C compiler."""
    import pytest

    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler for the stand-in of the CUDA runtime")
    source, library = Path(__file__).with_name("cudart_stand_in.c"), folder / "libcudart.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library


def cuda_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stand-in for the CUDA runtime, which sessions now load; its `stand_in_*` are for tests.

    Skips the test where there is no C compiler.
    """
    from tmkd_deploy.runtime import cuda_runtime

    monkeypatch.setenv(cuda_runtime.LIBRARY_VARIABLE, str(compiled(folder)))
    loaded = cuda_runtime.Cuda()._library
    loaded.stand_in_calls.restype = ctypes.c_char_p
    return loaded


def calls(library: Any) -> list[str]:
    """The calls so far, which are then forgotten."""
    found: list[str] = library.stand_in_calls().decode().split()
    library.stand_in_forget_calls()
    return found


class Engine:
    """TensorRT's engine and execution context in one, using ONNX Runtime and host memory."""

    num_io_tensors = 2

    def __init__(self, plan: bytes) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        ends = (self._session.get_inputs()[0], self._session.get_outputs()[0])
        self._names = [end.name for end in ends]
        self._shapes = {end.name: (-1, *end.shape[1:]) for end in ends}
        self._addresses: dict[str, int] = {}
        self._call = _CALL(self._execute)
        # as the runtime finds it, which cannot be imported where an agent asks for our version
        self._library = ctypes.CDLL(os.environ["TMKD_DEPLOY_CUDART"])

    def create_execution_context(self) -> Engine:
        return self

    def get_tensor_name(self, index: int) -> str:
        return str(self._names[index])

    def get_tensor_mode(self, name: str) -> str:
        return ("input", "output")[self._names.index(name)]

    def get_tensor_dtype(self, name: str) -> Any:
        return types.SimpleNamespace(name=("UINT8", "FLOAT")[self._names.index(name)])

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == self._names[0]
        for each in self._names:
            self._shapes[each] = (shape[0], *self._shapes[each][1:])
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def set_tensor_address(self, name: str, address: int) -> None:
        self._addresses[name] = address

    def _tensor(self, name: str, kind: type[np.generic]) -> Any:
        shape = self._shapes[name]
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        memory = (ctypes.c_byte * size).from_address(self._addresses[name])
        return np.frombuffer(memory, kind).reshape(shape)

    def _execute(self) -> None:
        images, logits = self._names
        pixels = self._tensor(images, np.uint8)
        self._tensor(logits, np.float32)[...] = self._session.run(None, {images: pixels})[0]

    def execute_async_v3(self, stream: int) -> bool:
        assert stream
        return bool(self._library.stand_in_enqueue(self._call) == 0)


def tensorrt_module(
    monkeypatch: pytest.MonkeyPatch, name: str = "tensorrt", version: str = "10.3.0.30"
) -> Any:
    """The stand-in for TensorRT's module, which sessions now load; `runtimes` lists its runtimes.

    The plan `stale` is refused.
    """

    from tmkd_deploy.runtime import tensorrt_library

    class Runtime:
        DLA_core = None

        def __init__(self, log: Any) -> None:
            self._log = log
            runtimes.append(self)

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            if plan == b"stale":
                self._log.log("error", "Serialization assertion failed.")
                return None
            return Engine(plan)

    runtimes: list[Runtime] = []
    module = types.SimpleNamespace(
        __name__=name,
        __version__=version,
        Runtime=Runtime,
        ILogger=type("ILogger", (), {"ERROR": "error", "INTERNAL_ERROR": "internal error"}),
        TensorIOMode=types.SimpleNamespace(INPUT="input"),
        runtimes=runtimes,
    )
    monkeypatch.setattr(tensorrt_library, "load", lambda runtime: module)
    monkeypatch.setattr(tensorrt_library, "_logs", {})
    return module
