"""Running an engine. There is no GPU here, so stand-ins replace it: see tests/support.

What the real libraries do without a GPU is tested for real.
"""

import gc
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gpu_stand_ins
import numpy as np
import pytest
from gpu_stand_ins import Engine, calls
from tiny_models import SIDE, Bench, model

from tmkd_deploy.agent.agent_errors import AgentError, from_engine_error
from tmkd_deploy.agent.build import builder_log, preflight, tensorrt_build
from tmkd_deploy.agent.build.build_request import build
from tmkd_deploy.agent.inference import sessions
from tmkd_deploy.runtime import cuda_runtime
from tmkd_deploy.runtime.cuda_runtime import Cuda
from tmkd_deploy.runtime.engine_errors import (
    EngineError,
    EngineMemoryError,
    NoClassifierError,
    RuntimeUnusableError,
)
from tmkd_deploy.runtime.tensorrt_session import TensorRTSession

RUN = ["copy_in", "cudaEventRecord", "enqueueV3", "cudaEventRecord", "copy_out"]
CAPTURED = [call.replace("Record", "RecordWithFlags") for call in RUN]
WAIT = "cudaStreamSynchronize"


@pytest.fixture
def cuda(tmp_path, monkeypatch):
    return gpu_stand_ins.cuda_library(tmp_path, monkeypatch)


@pytest.fixture
def tensorrt(monkeypatch):
    monkeypatch.setattr(builder_log, "_logs", {})
    return gpu_stand_ins.tensorrt_module(monkeypatch)


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


def some_images(count):
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def expected_for(images):
    return Engine(model(quantized=False))._session.run(None, {"images": images})[0]


@pytest.mark.parametrize("integrated", [False, True])
def test_images_go_in_and_logits_come_out(cuda, tensorrt, engine, integrated):
    cuda.stand_in_integrated(integrated)
    session = sessions.open_session("tensorrt", engine, 1, None)
    assert session.input_shape == (SIDE, SIDE, 3)
    assert session.classes == 4
    assert session.graph_problem is None
    images = some_images(3)
    for one, expected in zip(images, expected_for(images), strict=True):
        found = session.infer(one[None])
        assert found.dtype == np.float32 and found.shape == (1, 4)
        np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(session.infer(images), expected_for(images), rtol=1e-5, atol=1e-5)
    assert session.device_ms() == 1.5
    assert 0 < session.enqueue_ms() < 1000
    assert cuda.stand_in_flags() == 1  # cudaDeviceScheduleSpin
    sessions.open_session("tensorrt", engine, 1, None)  # although the first one is in use
    gc.collect()
    # a stream, two events, a graph, and two tensors' memory on the host and, if it has its own, GPU
    assert cuda.stand_in_alive() == 4 + (2 if integrated else 4)
    del session
    gc.collect()
    assert cuda.stand_in_alive() == 0


def test_work_is_captured_after_one_plain_run_and_then_launched(cuda, tensorrt, engine):
    session = sessions.open_session("tensorrt", engine, 1, None)
    made = calls(cuda)
    run_at = made.index("copy_in")
    assert made[run_at : run_at + 6] == [*RUN, WAIT]
    assert made[run_at + 6 :] == [
        *("cudaStreamBeginCapture", *CAPTURED, "cudaStreamEndCapture", "graph"),
        *("cudaGraphInstantiateWithFlags", "cudaGraphDestroy"),
    ]
    session.infer(some_images(1))
    assert calls(cuda) == ["cudaGraphLaunch", WAIT]
    session.close()
    assert calls(cuda) == [
        *("cudaGraphExecDestroy", "cudaFree", "cudaFreeHost", "cudaFree", "cudaFreeHost"),
        *("cudaEventDestroy", "cudaEventDestroy", "cudaStreamDestroy"),
    ]
    assert cuda.stand_in_alive() == 0


def test_a_gpu_that_shares_the_memory_is_sent_no_copies(cuda, tensorrt, engine):
    cuda.stand_in_integrated(1)
    session = sessions.open_session("tensorrt", engine, 1, None)
    made = calls(cuda)
    assert not {"copy_in", "copy_out", "cudaMalloc"} & set(made)
    assert made.count("cudaHostGetDevicePointer") == 2
    assert session.graph_problem is None
    TensorRTSession("tensorrt", engine.read_bytes(), dla_core=0)
    assert {"copy_in", "copy_out", "cudaMalloc"} <= set(calls(cuda))  # a DLA is not the GPU


@pytest.mark.parametrize(
    ("fails", "says"),
    [
        ("cudaStreamBeginCapture", "cudaStreamBeginCapture: not permitted"),
        ("cudaEventRecordWithFlags", "cudaEventRecordWithFlags: not permitted"),
        ("cudaStreamEndCapture", "cudaStreamEndCapture: not permitted"),
        ("cudaGraphInstantiateWithFlags", "cudaGraphInstantiateWithFlags: not permitted"),
    ],
)
def test_where_no_graph_can_be_made_the_work_is_enqueued(cuda, tensorrt, engine, fails, says):
    cuda.stand_in_fail(fails.encode(), 900)
    session = sessions.open_session("tensorrt", engine, 1, None)
    assert says in session.graph_problem
    calls(cuda)
    images = some_images(2)
    np.testing.assert_allclose(session.infer(images), expected_for(images), rtol=1e-5, atol=1e-5)
    assert calls(cuda) == 2 * [*RUN, WAIT]
    assert session.device_ms() == 1.5
    session.close()
    assert cuda.stand_in_alive() == 0


def test_an_engine_that_refuses_to_be_captured_still_runs(cuda, tensorrt, engine, monkeypatch):
    begun = Cuda.begin_capture

    def refuse(self, stream):
        begun(self, stream)
        cuda.stand_in_fail(b"enqueueV3", 900)

    monkeypatch.setattr(Cuda, "begin_capture", refuse)
    session = sessions.open_session("tensorrt", engine, 1, None)
    assert "failed while running" in session.graph_problem
    assert calls(cuda)[-2:] == ["cudaGraphDestroy", "cudaGetLastError"]  # nothing stays behind
    cuda.stand_in_fail(b"", 0)
    images = some_images(1)
    np.testing.assert_allclose(session.infer(images), expected_for(images), rtol=1e-5, atol=1e-5)


def test_an_old_cuda_runtime_without_graphs_will_do(cuda, tensorrt, engine, monkeypatch):
    real = cuda_runtime._open

    class Older:
        def __init__(self, library):
            self.library = library

        def __getattr__(self, name):
            if name == "cudaGraphInstantiateWithFlags":  # CUDA 11.4
                raise AttributeError(name)
            return getattr(self.library, name)

    monkeypatch.setattr(cuda_runtime, "_open", lambda: Older(real()))
    session = sessions.open_session("tensorrt", engine, 1, None)
    assert "has no cudaGraphInstantiateWithFlags" in session.graph_problem


def test_errors_of_every_step_are_passed_on_and_everything_is_freed(cuda, tensorrt, engine):
    for step in ("cudaMalloc", "cudaStreamCreate", "cudaEventCreate", "copy_in", "enqueueV3", WAIT):
        cuda.stand_in_fail(step.encode(), 999)
        with pytest.raises(AgentError) as caught:
            sessions.open_session("tensorrt", engine, 1, None)
        assert caught.value.code == "environment"
        del caught
        cuda.stand_in_fail(b"", 0)
        gc.collect()
        assert cuda.stand_in_alive() == 0, step
    session = sessions.open_session("tensorrt", engine, 1, None)
    cuda.stand_in_fail(b"cudaGraphLaunch", 999)
    with pytest.raises(EngineError, match="cudaGraphLaunch: bad"):
        session.infer(some_images(1))
    cuda.stand_in_fail(b"", 0)
    assert session.infer(some_images(1)).shape == (1, 4)  # the lock was released


def test_threads_take_turns(cuda, tensorrt, engine):
    session = sessions.open_session("tensorrt", engine, 1, None)
    images = some_images(40)
    with ThreadPoolExecutor(4) as pool:
        found = np.concatenate(list(pool.map(lambda one: session.infer(one[None]), images)))
    np.testing.assert_allclose(found, expected_for(images), rtol=1e-5, atol=1e-5)


def test_images_of_another_shape_are_refused(cuda, tensorrt, engine, monkeypatch):
    session = sessions.open_session("tensorrt", engine, 1, None)
    for shape in ((1, SIDE, SIDE, 1), (1, SIDE, SIDE + 1, 3)):
        with pytest.raises(EngineError, match=r"takes images of \[16, 16, 3\], not"):
            session.infer(np.zeros(shape, np.uint8))
    monkeypatch.setattr(Engine, "set_input_shape", lambda self, name, shape: False)
    with pytest.raises(AgentError, match="does not take one image at a time"):
        sessions.open_session("tensorrt", engine, 1, None)


def test_what_is_no_classifier_is_refused(cuda, tensorrt, engine, monkeypatch):
    monkeypatch.setattr(Engine, "get_tensor_shape", lambda self, name: (-1, SIDE, SIDE, 3))
    with pytest.raises(NoClassifierError, match=r"UINT8 \[-1, 16, 16, 3\] and FLOAT"):
        TensorRTSession("tensorrt", engine.read_bytes())
    gc.collect()
    assert cuda.stand_in_alive() == 0


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
    assert cuda.stand_in_alive() == 0


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
    with pytest.raises(EngineMemoryError, match="cudaMalloc: out of memory") as caught:
        Cuda().device_memory(1 << 41)
    assert from_engine_error(caught.value).code == "out_of_memory"
    with pytest.raises(RuntimeUnusableError, match="cudaStreamSynchronize: bad") as caught:
        Cuda().wait(0)
    assert from_engine_error(caught.value).code == "environment"


def test_a_missing_cuda_runtime_is_reported(monkeypatch, tmp_path):
    monkeypatch.setenv(cuda_runtime.LIBRARY_VARIABLE, str(tmp_path / "nothing.so"))
    with pytest.raises(RuntimeUnusableError, match="libcudart"):
        Cuda()


def test_the_real_library_reports_that_there_is_no_gpu():
    if Path("/dev/nvidia0").exists():
        pytest.skip("there is a GPU here")
    try:
        cuda = Cuda()
    except RuntimeUnusableError:
        pytest.skip("the CUDA runtime is not installed")
    with pytest.raises(RuntimeUnusableError, match="cudaDeviceGetAttribute"):
        cuda.compute_capability()


def test_rtx_rejects_a_file_that_is_no_engine(cuda, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    (tmp_path / "plan").write_bytes(b"no engine at all" * 100)
    with pytest.raises(AgentError, match="rejects the engine") as caught:
        sessions.open_session("tensorrt_rtx", tmp_path / "plan", 1, None)
    assert caught.value.code == "environment"


def test_a_real_rtx_engine_gets_as_far_as_no_gpu_allows(cuda, tmp_path, monkeypatch):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    if Path("/dev/nvidia0").exists():
        pytest.skip("there is a GPU here, and a stand-in for CUDA")
    bench = Bench(tmp_path / "work")
    size = {"height": SIDE, "width": SIDE, "input": "images"}
    asked = {"runtime": "tensorrt_rtx", "precision": "int8", "compute_capability": "SM89", **size}
    built = build({**asked, "onnx": bench.put(model())}, bench.context)
    engine = bench.context.stored_file(built["engine"])
    preflight.sidecar_of(engine).unlink()  # the stand-in's GPU is another one
    # the real module takes the plan, and then looks for a GPU
    with pytest.raises(AgentError, match=r"rejects the engine: .*[Cc]uda") as caught:
        sessions.open_session("tensorrt_rtx", engine, 1, None)
    assert "Serialization" not in caught.value.problem
    gc.collect()
    assert cuda.stand_in_alive() == 0
