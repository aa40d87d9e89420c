"""Building on the device. TensorRT-RTX, which builds without a GPU, stands in for TensorRT."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import load_from_string
from tiny_models import SIDE, Bench, model

from tmkd_deploy.agent.agent_errors import AgentError
from tmkd_deploy.agent.build import builders, layer_types, tensorrt_build
from tmkd_deploy.agent.build.build_request import build, read_metadata
from tmkd_deploy.devices.payload import agent_zip
from tmkd_deploy.runtime import tensorrt_library

rtx = pytest.mark.skipif(
    not pytest.importorskip("importlib.util").find_spec("tensorrt_rtx"),
    reason="the TensorRT-RTX builder is not installed",
)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "work")


def request(onnx, **changes):
    return {
        "id": 1,
        "do": "build",
        "runtime": "tensorrt_rtx",
        "onnx": onnx,
        "precision": "int8",
        "height": SIDE,
        "width": SIDE,
        "input": "images",
        "typing": "strong",
        "workspace_mb": None,
        "dla_core": None,
        "calibration": None,
        "gpu_fallback": True,
        "compute_capability": "SM86",
        **changes,
    }


@given(st.binary(max_size=400))
def test_stray_bytes_are_refused_or_harmless(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("stray") / "model.onnx"
    path.write_bytes(content)
    try:
        assert isinstance(read_metadata(path), dict)
    except AgentError as error:
        assert error.code == "data"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_model_is_refused(tmp_path, share):
    whole = model()
    (tmp_path / "model.onnx").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(AgentError, match="not an ONNX model"):
        read_metadata(tmp_path / "model.onnx")


@rtx
def test_an_engine_its_layers_and_its_manifest(bench):
    onnx = bench.put(model())
    answer = build(request(onnx, workspace_mb=10**7), bench.context)
    engine = bench.context.stored_file(answer["engine"])
    assert engine.stat().st_size == answer["bytes"] > 1000
    layers = json.loads(bench.context.stored_file(answer["layers"]).read_text())
    assert any("Int8" in layer["inputs"] for layer in layers)
    assert "LayerType" in bench.context.stored_file(answer["log"]).read_text()
    sidecar = json.loads(Path(f"{engine}.json").read_text())
    assert sidecar == answer["sidecar"]
    assert sidecar["engine"] == {"sha256": answer["engine"], "bytes": answer["bytes"]}
    assert sidecar["onnx"] == {"sha256": onnx, "metadata": {"tmkd_deploy.quant_scheme": "signed"}}
    assert sidecar["device"]["sm"] == "SM86" and sidecar["device"]["uuid"] is None
    assert sidecar["versions"]["runtime"].startswith("1.")
    assert sidecar["build"]["typing"] == "strong" and sidecar["build"]["log"] == answer["log"]
    workspace, free = (sidecar["build"]["configuration"][k] for k in ("workspace_mb", "free_mb"))
    assert workspace == int(free * builders.WORKSPACE_SHARE)
    assert [line["text"] for line in bench.said("warn")] == [
        f"The builder gets a workspace of {workspace} MB instead of 10000000 MB: "
        f"{free} MB are free."
    ]

    assert not answer["reused"] and len(bench.children.started) == 1
    again = build(request(onnx, workspace_mb=10**7, id=2), bench.context)
    assert again == {**answer, "reused": True}
    assert len(bench.children.started) == 1
    with pytest.raises(AgentError, match="does not build for SM999"):  # not the same device
        build(request(onnx, workspace_mb=10**7, compute_capability="SM999"), bench.context)


@rtx
@pytest.mark.parametrize(("precision", "tf32"), [("fp32", False), ("fp16", True), ("int8", True)])
def test_fp32_is_not_computed_as_tf32(precision, tf32):
    trt = tensorrt_library.load("tensorrt_rtx")
    builder = trt.Builder(tensorrt_library.logger(trt))
    job = {"precision": precision, "workspace_mb": 64}
    typing = layer_types.choose_typing(trt, "strong", precision, dla=False)
    config = tensorrt_build.configure(trt, builder, typing, job)
    assert config.get_flag(trt.BuilderFlag.TF32) == tf32


@rtx
def test_a_file_with_a_fixed_batch_is_built_too(bench):
    proto = load_from_string(model())
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1  # as for a DLA
    answer = build(request(bench.put(proto.SerializeToString())), bench.context)
    assert answer["bytes"] > 1000


@rtx
def test_an_engine_that_was_cleaned_away_is_built_again(bench, monkeypatch):
    onnx = bench.put(model())
    made = builders.BuildResult(Path(), True, None, [], [], {"typing": "strong"})

    def run_builder(*arguments):
        plan = bench.context.scratch() / "plan"
        plan.write_bytes(b"plan")
        return made._replace(engine=plan)

    monkeypatch.setattr("tmkd_deploy.agent.build.build_request.run_builder", run_builder)
    answer = build(request(onnx), bench.context)
    assert build(request(onnx), bench.context)["reused"]
    bench.context.stored_file(answer["engine"]).unlink()
    assert not build(request(onnx), bench.context)["reused"]


@rtx
@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"dla_core": 0}, "environment", "finds 0 DLA cores"),
        ({"input": "pixels"}, "data", "pixels (-1, 16, 16, 3)"),
        ({"width": 32}, "data", "images (-1, 16, 32, 3)"),
        ({"precision": "int4"}, "request", "'int4'"),
    ],
)
def test_an_impossible_build_is_reported(bench, changes, code, words):
    with pytest.raises(AgentError) as caught:
        build(request(bench.put(model()), **changes), bench.context)
    assert caught.value.code == code
    assert words in caught.value.problem


@rtx
def test_a_rejected_operator_is_reported_with_the_parsers_message(bench):
    unknown = bench.put(model(operator="FancyRelu", domain="com.example"))
    with pytest.raises(AgentError, match="FancyRelu") as caught:
        build(request(unknown), bench.context)
    assert caught.value.code == "environment"


@pytest.mark.parametrize("runtime", ["tensorrt_rtx", "onnxruntime", "openvino"])
@pytest.mark.parametrize("content", [b"no graph at all", b"", b"\x08\x07" * 400, model()[:200]])
def test_garbage_is_wrong_data(bench, content, runtime):
    with pytest.raises(AgentError) as caught:
        build(request(bench.put(content), runtime=runtime), bench.context)
    assert caught.value.code == "data"


@rtx
def test_the_parser_rejects_garbage_too(bench, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\x08\x07" * 400)
    job = {"runtime": "tensorrt_rtx", "typing": "strong", "precision": "int8", "dla_core": None}
    job |= {"calibration": None}
    with pytest.raises(AgentError) as caught:
        tensorrt_build.build({**job, "onnx": str(tmp_path / "model.onnx")}, tmp_path)
    assert caught.value.code == "data"


@pytest.mark.parametrize(
    ("runtime", "quant_scheme"),
    [("tensorrt_rtx", "unsigned"), ("onnxruntime", "signed"), ("openvino", "signed")],
)
def test_a_model_for_another_runtime_is_refused(bench, runtime, quant_scheme):
    with pytest.raises(AgentError, match=f"activations are {quant_scheme}") as caught:
        build(request(bench.put(model(quant_scheme=quant_scheme)), runtime=runtime), bench.context)
    assert caught.value.code == "data"


@rtx
def test_a_killed_build_is_distinguished_from_a_broken_one(bench, monkeypatch):
    onnx = bench.put(model())
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(builders, "_START_BUILDER", killed)
    with pytest.raises(AgentError, match=r"\d+ MB were free") as caught:
        build(request(onnx), bench.context)
    assert caught.value.code == "out_of_memory"
    broken = "import os, signal; print('last words', flush=True); os.kill(os.getpid(), 11)"
    monkeypatch.setattr(builders, "_START_BUILDER", broken)
    with pytest.raises(AgentError, match="status -11 and no result: last words") as caught:
        build(request(onnx), bench.context)
    assert caught.value.code == "environment"


@rtx
def test_the_builder_starts_from_a_zip(tmp_path):
    payload = tmp_path / "agent.zip"
    payload.write_bytes(agent_zip())
    (tmp_path / "model.onnx").write_bytes(model())
    job = {
        "runtime": "tensorrt_rtx",
        "onnx": str(tmp_path / "model.onnx"),
        "precision": "int8",
        "input": "images",
        "height": SIDE,
        "width": SIDE,
        "typing": "strong",
        "workspace_mb": 64,
        "dla_core": None,
        "calibration": None,
        "compute_capability": "SM89",
        "timing_cache": None,
    }
    (tmp_path / tensorrt_build.JOB).write_text(json.dumps(job))
    argv = [sys.executable, "-I", "-c", builders._START_BUILDER, str(payload), str(tmp_path)]
    subprocess.run(argv, check=True)
    outcome = json.loads((tmp_path / tensorrt_build.OUTCOME).read_text())
    assert outcome["typing"] == "strong" and outcome["layers"]
    assert (tmp_path / tensorrt_build.PLAN).stat().st_size > 1000


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_cpu_runtime_takes_the_file_as_it_is(bench, runtime):
    module = pytest.importorskip(runtime)
    onnx = bench.put(model(quant_scheme="unsigned"))
    answer = build(request(onnx, runtime=runtime, compute_capability=None), bench.context)
    assert answer["engine"] == onnx and answer["layers"] is None and not answer["reused"]
    assert answer["sidecar"]["versions"]["runtime"] == module.__version__.split("-")[0]
    assert not Path(f"{bench.context.stored_file(onnx)}.json").exists()


@given(st.one_of(st.none(), st.integers(1, 10**6)), st.integers(0, 10**6))
def test_the_workspace_stays_within_its_share(asked, free):
    given_mb = builders.workspace_mb(asked, free)
    assert 1 <= given_mb <= max(1, free * builders.WORKSPACE_SHARE)
    assert asked is None or given_mb <= asked
