"""Running an engine. There is no GPU here, so two stand-ins replace it.

A small C library has the functions of the CUDA runtime that we call, on the host's memory; what it
proves is that we call them as they are declared. A module with the part of TensorRT's interface
that we use runs the "engine" on the CPU. What the real libraries do without a GPU is tested for
real.
"""

import gc
import json
import shutil
import subprocess
import types
from pathlib import Path

import numpy as np
import pytest
from tiny_models import SIDE, model

from tmkd_deploy.agent.agent_errors import AgentError
from tmkd_deploy.agent.build import builder_log, preflight, tensorrt_build
from tmkd_deploy.agent.inference import cudart, sessions, tensorrt_module
from tmkd_deploy.agent.inference.cudart import Cuda

LIBRARY = r"""
#include <stdlib.h>
#include <string.h>
static int alive = 0;
static long clock_us = 0;
static unsigned flags = 0;
int stand_in_alive(void) { return alive; }
int stand_in_flags(void) { return flags; }
int cudaSetDeviceFlags(unsigned given) {
    if (alive) return 708; /* cudaErrorSetOnActiveProcess, as of old: it comes first */
    flags = given;
    return 0;
}
const char *cudaGetErrorString(int status) { return status == 2 ? "out of memory" : "bad"; }
int cudaDeviceGetAttribute(int *value, int attribute, int device) {
    if (device != 0) return 101;
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : -1;
    return 0;
}
static int make(void **handle, size_t size) {
    if (size > ((size_t)1 << 40)) return 2;
    alive++;
    *handle = malloc(size);
    return 0;
}
static int end(void *handle) { alive--; free(handle); return 0; }
int cudaMalloc(void **memory, size_t size) { return make(memory, size); }
int cudaMallocHost(void **memory, size_t size) { return make(memory, size); }
int cudaStreamCreate(void **stream) { return make(stream, 8); }
int cudaEventCreate(void **event) { return make(event, sizeof(long)); }
int cudaFree(void *memory) { return end(memory); }
int cudaFreeHost(void *memory) { return end(memory); }
int cudaStreamDestroy(void *stream) { return end(stream); }
int cudaEventDestroy(void *event) { return end(event); }
int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) {
    if (kind != 1 && kind != 2) return 21;
    memcpy(to, from, size);
    return stream == NULL;
}
int cudaEventRecord(void *event, void *stream) { *(long *)event = clock_us += 1500; return 0; }
int cudaStreamSynchronize(void *stream) { return stream == NULL; }
int cudaEventElapsedTime(float *milliseconds, void *start, void *end) {
    *milliseconds = (*(long *)end - *(long *)start) / 1000.0f;
    return 0;
}
"""


@pytest.fixture
def cuda(tmp_path, monkeypatch):
    """The stand-in for the CUDA runtime; returns how many of its objects are not freed."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler for the stand-in")
    source, library = tmp_path / "cudart.c", tmp_path / "libcudart.so"
    source.write_text(LIBRARY)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    monkeypatch.setenv(cudart.LIBRARY_VARIABLE, str(library))
    return Cuda()._library.stand_in_alive


class Engine:
    """TensorRT's engine and execution context in one, using ONNX Runtime and host memory."""

    num_io_tensors = 2

    def __init__(self, plan):
        onnxruntime = pytest.importorskip("onnxruntime")
        self._session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        self._addresses = {}
        self._shapes = {"images": (-1, SIDE, SIDE, 3), "logits": (-1, 4)}

    def create_execution_context(self):
        return self

    def get_tensor_name(self, index):
        return ["images", "logits"][index]

    def get_tensor_mode(self, name):
        return {"images": "input", "logits": "output"}[name]

    def get_tensor_dtype(self, name):
        return types.SimpleNamespace(name={"images": "UINT8", "logits": "FLOAT"}[name])

    def set_input_shape(self, name, shape):
        assert name == "images"
        self._shapes = {"images": shape, "logits": (shape[0], 4)}

    def get_tensor_shape(self, name):
        return self._shapes[name]

    def set_tensor_address(self, name, address):
        self._addresses[name] = address

    def _tensor(self, name, kind):
        import ctypes

        shape = self._shapes[name]
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        memory = (ctypes.c_byte * size).from_address(self._addresses[name])
        return np.frombuffer(memory, kind).reshape(shape)

    def execute_async_v3(self, stream):
        images = self._tensor("images", np.uint8)
        self._tensor("logits", np.float32)[...] = self._session.run(None, {"images": images})[0]
        return True


@pytest.fixture
def tensorrt(monkeypatch):
    """The stand-in for TensorRT's module, release 10.3.0."""

    class Runtime:
        DLA_core = None

        def __init__(self, log):
            self._log = log
            runtimes.append(self)

        def deserialize_cuda_engine(self, plan):
            if plan == b"stale":
                self._log.log("error", "Serialization assertion failed.")
                return None
            return Engine(plan)

    runtimes = []
    module = types.SimpleNamespace(
        __name__="tensorrt",
        __version__="10.3.0.30",
        Runtime=Runtime,
        ILogger=type("ILogger", (), {"ERROR": "error", "INTERNAL_ERROR": "internal error"}),
        TensorIOMode=types.SimpleNamespace(INPUT="input"),
        runtimes=runtimes,
    )
    monkeypatch.setattr(tensorrt_module, "load", lambda runtime: module)
    monkeypatch.setattr(tensorrt_module, "_logs", {})
    monkeypatch.setattr(builder_log, "_logs", {})
    return module


def sidecar_for(engine, sm="87", core=None):
    sidecar = {
        "runtime": "tensorrt",
        "versions": {"runtime": "10.3.0"},
        "device": {"sm": sm},
        "engine": {"sha256": engine.name},
        "dla": {"core": core, "gpu_fallback_layers": []},
    }
    preflight.sidecar_of(engine).write_text(json.dumps(sidecar))


@pytest.fixture
def engine(tmp_path):
    path = tmp_path / "plan"
    path.write_bytes(model(quantized=False))
    return path


def test_images_go_in_and_logits_come_out(cuda, tensorrt, engine):
    session = sessions.open_session("tensorrt", engine, 1, None)
    images = np.random.default_rng(0).integers(0, 256, (3, 1, SIDE, SIDE, 3), np.uint8)
    logits = [session.infer(one) for one in images]
    expected = Engine(engine.read_bytes())._session
    for one, found in zip(images, logits, strict=True):
        assert found.dtype == np.float32 and found.shape == (1, 4)
        np.testing.assert_array_equal(found, expected.run(None, {"images": one})[0])
    assert session.device_ms() == 1.5
    assert Cuda()._library.stand_in_flags() == 1  # cudaDeviceScheduleSpin
    sessions.open_session("tensorrt", engine, 1, None)  # although the first one is in use
    gc.collect()
    assert cuda() == 3 + 4  # a stream, two events, and two tensors' memory on either side
    del session
    gc.collect()
    assert cuda() == 0


def test_the_manifest_is_checked_before_the_runtime_loads(cuda, tensorrt, engine):
    sidecar_for(engine, sm="SM72")
    with pytest.raises(AgentError, match="SM72, but this one is SM87"):
        sessions.open_session("tensorrt", engine, 1, None)
    assert tensorrt.runtimes == []
    sidecar_for(engine, core=1)
    sessions.open_session("tensorrt", engine, 1, None)
    assert tensorrt.runtimes[0].DLA_core == 1


def test_a_rejected_engine_is_reported_with_the_runtimes_message(cuda, tensorrt, tmp_path):
    stale = tmp_path / "stale"
    stale.write_bytes(b"stale")
    with pytest.raises(AgentError, match=r"10\.3\.0\.30 rejects the engine: Serialization"):
        sessions.open_session("tensorrt", stale, 1, None)
    gc.collect()
    assert cuda() == 0


def test_a_null_pointer_of_tensorrt_is_reported_with_its_log(cuda, tensorrt, engine, monkeypatch):
    # https://github.com/NVIDIA/TensorRT/issues/2913: what the module raises where CUDA does not
    # start; for the builder as for the runtime
    def refuse(log):
        log.log("error", "CUDA initialization failure with error: 999")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(tensorrt, "Runtime", refuse)
    with pytest.raises(AgentError, match=r"TensorRT cannot start: CUDA .*: 999") as caught:
        sessions.open_session("tensorrt", engine, 1, None)
    assert caught.value.code == "environment" and caught.value.advice
    monkeypatch.setattr(tensorrt, "Builder", refuse, raising=False)
    monkeypatch.setattr(tensorrt_build, "load", lambda runtime: tensorrt)
    with pytest.raises(AgentError, match=r"builder cannot start: CUDA .*: 999"):
        tensorrt_build.build({"runtime": "tensorrt"}, engine.parent)
    assert "999" in (engine.parent / tensorrt_build.LOG).read_text()


def test_a_release_too_old_to_run_engines_is_named(cuda, tensorrt, engine, monkeypatch):
    monkeypatch.delattr(Engine, "num_io_tensors")
    monkeypatch.setattr(tensorrt, "__version__", "8.4.1.5")
    with pytest.raises(AgentError, match=r"8\.4\.1\.5 can build engines, but.* 8\.5 "):
        sessions.open_session("tensorrt", engine, 1, None)


def test_cuda_errors_keep_their_message(cuda):
    with pytest.raises(AgentError, match="cudaMalloc: out of memory") as caught:
        Cuda().device_memory(1 << 41)
    assert caught.value.code == "out_of_memory"
    with pytest.raises(AgentError, match="cudaStreamSynchronize: bad") as caught:
        Cuda().wait(0)
    assert caught.value.code == "environment"


def test_a_missing_cuda_runtime_is_reported(monkeypatch, tmp_path):
    monkeypatch.setenv(cudart.LIBRARY_VARIABLE, str(tmp_path / "nothing.so"))
    with pytest.raises(AgentError, match="libcudart"):
        Cuda()


def test_the_real_library_reports_that_there_is_no_gpu():
    if Path("/dev/nvidia0").exists():
        pytest.skip("there is a GPU here")
    try:
        cuda = Cuda()
    except AgentError:
        pytest.skip("the CUDA runtime is not installed")
    with pytest.raises(AgentError, match="cudaDeviceGetAttribute") as caught:
        cuda.compute_capability()
    assert caught.value.code == "environment"


def test_rtx_rejects_a_file_that_is_no_engine(cuda, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    (tmp_path / "plan").write_bytes(b"no engine at all" * 100)
    with pytest.raises(AgentError, match="rejects the engine") as caught:
        sessions.open_session("tensorrt_rtx", tmp_path / "plan", 1, None)
    assert caught.value.code == "environment"
