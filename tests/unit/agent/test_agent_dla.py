"""Builds for a DLA, and second attempts, with a stand-in for TensorRT's builder."""

import gc
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from builder_stand_in import STALE, Config, StandIn
from tiny_models import SIDE, Bench, model

from tmkd_deploy.agent.agent_errors import AgentError
from tmkd_deploy.agent.build import builder_log, tensorrt_build
from tmkd_deploy.agent.build.build_request import build
from tmkd_deploy.agent.build.builder_log import BuilderLog

STRONG, EXPLICIT = 1 << 1, 1 << 0
CACHE = "TRT-100300-EntropyCalibration2\npixels: 3ca3d70a\n"
# On an Orin: https://github.com/NVIDIA/TensorRT/issues/4832; the last line as such builds end
MYELIN = [
    "Error Code 9: Skipping tactic 0 due to exception [type.cpp:186: infer_type] Could not infer "
    "output types for operation: 291: dequantize: ... No matching rules found for input operand "
    "types In compileGraph at optimizer/myelin/codeGenerator.cpp",
    "Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[x]}.)",
]


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job for a stand-in, which `use` chooses."""
    monkeypatch.setattr(builder_log, "_logs", {})
    proto = onnx.load_from_string(model(quantized=False))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(proto, tmp_path / "model.onnx")
    (tmp_path / "scales").write_text(CACHE)
    return {
        "runtime": "tensorrt",
        "onnx": str(tmp_path / "model.onnx"),
        "precision": "int8",
        "input": "images",
        "height": SIDE,
        "width": SIDE,
        "typing": "strong",
        "workspace_mb": 64,
        "dla_core": None,
        "gpu_fallback": True,
        "calibration": None,
        "compute_capability": None,
        "timing_cache": None,
    }


@pytest.fixture
def use(monkeypatch, tmp_path):
    def run(trt, job):
        monkeypatch.setattr(tensorrt_build, "load", lambda runtime: trt)
        return tensorrt_build.build(job, tmp_path)

    return run


def test_int8_on_a_dla_takes_its_scales_from_the_cache(job, use, tmp_path):
    trt = StandIn()
    job |= {"dla_core": 1, "calibration": str(tmp_path / "scales")}
    outcome = use(trt, job)
    [(typing, config)] = trt.attempts
    assert typing == EXPLICIT and config.flags == {"TF32", "INT8", "FP16", "GPU_FALLBACK"}
    assert config.default_device_type == "dla" and config.DLA_core == 1
    assert config.profiles == []  # the file has one shape
    assert trt.scales == [CACHE.encode()]
    assert isinstance(config.int8_calibrator, trt.IInt8EntropyCalibrator2)
    assert config.int8_calibrator.get_batch_size() == 1
    config.int8_calibrator.write_calibration_cache(b"other")
    assert (tmp_path / "scales").read_text() == CACHE
    assert outcome["typing"] == "flags" and outcome["strong_typing_failed"] is None
    assert outcome["gpu_fallback_layers"] == ["float", "pixels"]
    assert outcome["layers"] == [{"name": "conv", "kind": "", "inputs": []}]


def test_a_cache_of_another_release_fails_the_build(job, use, tmp_path):
    job |= {"dla_core": 0, "calibration": str(tmp_path / "scales")}
    with pytest.raises(AgentError, match=STALE) as caught:
        use(StandIn("8.6.2", 8602), job)
    assert caught.value.code == "environment"


def test_without_a_cache_nothing_calibrates(job, use):
    trt = StandIn()
    use(trt, {**job, "precision": "fp16", "dla_core": 0})
    [(typing, config)] = trt.attempts
    assert typing == EXPLICIT and config.int8_calibrator is None and "INT8" not in config.flags


def test_layers_that_a_dla_refuses_end_a_build_without_fallback(job, use):
    with pytest.raises(AgentError, match="2 of the 7 layers cannot run on the DLA") as caught:
        use(StandIn(), {**job, "precision": "fp16", "dla_core": 0, "gpu_fallback": False})
    assert "float, pixels" in caught.value.problem


def test_int8_that_fails_in_myelin_is_built_with_flags(job, use, tmp_path):
    trt = StandIn("10.16.2.10", 101602, lambda typing: MYELIN if typing == STRONG else [])
    outcome = use(trt, job)
    assert [typing for typing, _ in trt.attempts] == [STRONG, EXPLICIT]
    assert [config.flags for _, config in trt.attempts] == [{"TF32"}, {"TF32", "INT8", "FP16"}]
    assert outcome["typing"] == "flags" and MYELIN[0] in outcome["strong_typing_failed"]
    assert "dequantize" in (tmp_path / tensorrt_build.LOG).read_text()


@pytest.mark.parametrize(
    ("trt", "changes", "attempts"),
    [
        (StandIn(fails=lambda typing: MYELIN), {}, 2),
        (StandIn(fails=lambda typing: MYELIN[1:]), {}, 1),
        (StandIn(fails=lambda typing: [f"{MYELIN[0]} (OutOfMemory)"]), {}, 1),
        (StandIn(fails=lambda typing: MYELIN), {"precision": "fp16"}, 1),
        (StandIn(fails=lambda typing: MYELIN), {"typing": "flags"}, 1),
        (StandIn("11.4.1", 110401, lambda typing: MYELIN), {}, 1),
    ],
)
def test_a_build_that_still_fails_is_reported(job, use, trt, changes, attempts):
    with pytest.raises(AgentError, match="cannot build the engine: Error Code"):
        use(trt, {**job, **changes})
    assert len(trt.attempts) == attempts


def test_an_engine_survives_what_comes_after_it(job, use, tmp_path, monkeypatch):
    # a stray quote in a layer's name, and a cache that cannot be written
    timings = SimpleNamespace(serialize=lambda: b"timings")
    monkeypatch.setattr(Config, "create_timing_cache", lambda self, old: timings, raising=False)
    monkeypatch.setattr(Config, "set_timing_cache", lambda *them: True, raising=False)
    trt = StandIn(layers='{"Layers": [{"Name": "co')
    outcome = use(trt, {**job, "timing_cache": str(tmp_path / "missing" / "timings.cache")})
    assert (tmp_path / tensorrt_build.PLAN).read_bytes() == b"plan"
    assert outcome["layers"] == []
    use(trt, {**job, "timing_cache": str(tmp_path / "timings.cache")})
    assert (tmp_path / "timings.cache").read_bytes() == b"timings"


INSTALLED = """
import sys
sys.path.insert(0, {folder!r})
from builder_stand_in import StandIn
module = StandIn("10.3.0.30", 100300, lambda typing: {errors!r} if typing == {strong} else [])
module.__spec__ = __spec__
sys.modules[__name__] = module
"""


@pytest.mark.parametrize(("core", "errors", "warned"), [(1, [], 0), (None, MYELIN, 1)])
def test_the_builders_own_process_does_it_and_the_manifest_says_so(
    tmp_path, monkeypatch, core, errors, warned
):
    module = tmp_path / "installed" / "tensorrt" / "__init__.py"
    module.parent.mkdir(parents=True)
    here = str(Path(__file__).parent)
    module.write_text(INSTALLED.format(folder=here, errors=errors, strong=STRONG))
    monkeypatch.setenv("PYTHONPATH", str(module.parents[1]))
    monkeypatch.syspath_prepend(str(module.parents[1]))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    bench = Bench(tmp_path / "work")
    proto = onnx.load_from_string(model(quantized=False))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    scales = None if core is None else bench.put(CACHE.encode())
    asked = {
        **{"id": 1, "runtime": "tensorrt", "onnx": bench.put(proto.SerializeToString())},
        **{"precision": "int8", "height": SIDE, "width": SIDE, "input": "images"},
        **{"dla_core": core, "calibration": scales},
    }
    answer = build(asked, bench.context)
    monkeypatch.delitem(sys.modules, "tensorrt")
    assert bench.context.stored_file(answer["engine"]).read_bytes() == b"plan"
    left = ["float", "pixels"] if core is not None else []
    sidecar = answer["sidecar"]
    assert sidecar["dla"] == {"core": core, "calibration": scales, "gpu_fallback_layers": left}
    assert sidecar["build"]["typing"] == "flags"
    failed = sidecar["build"]["strong_typing_failed"]
    assert failed is None if not errors else "dequantize" in failed
    said = [line["text"] for line in bench.said("warn")]
    assert len(said) == warned and all("built with the flags INT8 and FP16" in e for e in said)
    log = bench.context.stored_file(answer["log"]).read_text()
    assert log.count("Unsupported on DLA") == len(left) and all(each in log for each in errors)


def test_a_log_of_any_length_is_kept_on_disk_alone(tmp_path):
    log = BuilderLog()
    log.start(tmp_path / "log")
    line = "a tactic that was tried, with its time " * 10
    gc.collect()
    tracemalloc.start()
    for number in range(2000):
        log.add(f"{line}{number}", is_error=number % 2 == 0)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "log").stat().st_size > 700_000
    assert used < 200_000
    assert log.reason().startswith(line) and log.reason().count(line) == 50
    read = list(log.lines())
    assert len(read) == 2000 and read[-1].endswith("1999\n")
    log.add("two\nlines", is_error=False)
    assert len(list(log.lines())) == 2002
    log.end()
    log.end()
    log.start(tmp_path / "next")
    assert log.reason() == "it gives no reason." and list(log.lines()) == []
    log.end()
