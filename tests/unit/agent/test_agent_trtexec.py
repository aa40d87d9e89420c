"""trtexec, with output recorded on others' devices; the tool itself is not available here.

Each record names the page where it was published; lines that nobody reads are left out.
"""

import json
import os
import stat
import sys
from pathlib import Path

import pytest
from tiny_models import SIDE, Bench, model

from tmkd_deploy.agent.agent_errors import AgentError
from tmkd_deploy.agent.build import engine_layers, trtexec
from tmkd_deploy.agent.build.build_request import build
from tmkd_deploy.agent.child_processes import CompletedProgram

# Jetson AGX Xavier, TensorRT 8.4: https://github.com/OE4T/meta-tegra/pull/952
XAVIER_8_4 = """\
[03/11/2022-14:57:03] [I] === Performance summary ===
[03/11/2022-14:57:03] [I] Throughput: 41087.7 qps
[03/11/2022-14:57:03] [I] Latency: min = 0.387207 ms, max = 0.447357 ms, mean = 0.402238 ms, \
median = 0.401947 ms, percentile(99%) = 0.420288 ms
[03/11/2022-14:57:03] [I] Enqueue Time: min = 0.0830078 ms, max = 0.229004 ms, mean = 0.090497 \
ms, median = 0.0871582 ms, percentile(99%) = 0.126099 ms
[03/11/2022-14:57:03] [I] H2D Latency: min = 0.00622559 ms, max = 0.0571899 ms, mean = 0.0104126 \
ms, median = 0.00952148 ms, percentile(99%) = 0.0272217 ms
[03/11/2022-14:57:03] [I] GPU Compute Time: min = 0.375977 ms, max = 0.403564 ms, mean = 0.388221 \
ms, median = 0.388443 ms, percentile(99%) = 0.393188 ms
[03/11/2022-14:57:03] [I] D2H Latency: min = 0.00195312 ms, max = 0.00537109 ms, mean = \
0.00360451 ms, median = 0.00366211 ms, percentile(99%) = 0.00488281 ms
[03/11/2022-14:57:03] [I] Total Host Walltime: 3.00119 s
[03/11/2022-14:57:03] [I] Total GPU Compute Time: 2.99202 s
[03/11/2022-14:57:03] [I] Explanations of the performance metrics are printed in the verbose logs.
[03/11/2022-14:57:03] [I]
&&&& PASSED TensorRT.trtexec [TensorRT v8400] # trtexec --loadEngine=mnist16.trt --batch=16
"""

# TensorRT 8.2: https://github.com/NVIDIA/TensorRT/issues/2035
NO_KERNEL_8_2 = """\
[06/07/2022-19:05:53] [I] [TRT] Local timing cache in use. Profiling results in this builder pass \
will not be stored.
[06/07/2022-19:05:53] [W] [TRT] Skipping tactic 0 due to insuficient memory on requested size of \
29147520 detected for tactic 0.
[06/07/2022-19:05:53] [E] Error[10]: [optimizer.cpp::computeCosts::2011] Error Code 10: Internal \
Error (Could not find any implementation for node {ForeignNode[onnx::Gather_72...ScatterND_170]}.)
[06/07/2022-19:05:53] [E] Error[2]: [builder.cpp::buildSerializedNetwork::609] Error Code 2: \
Internal Error (Assertion enginePtr != nullptr failed. )
[06/07/2022-19:05:53] [E] Engine could not be created from network
[06/07/2022-19:05:53] [E] Building engine failed
[06/07/2022-19:05:53] [E] Failed to create engine from model.
[06/07/2022-19:05:53] [E] Engine set up failed
&&&& FAILED TensorRT.trtexec [TensorRT v8205] # ./trtexec --onnx=debug.onnx --saveEngine=debug.trt
"""

# TensorRT 8.6.1: https://github.com/AUTOMATIC1111/stable-diffusion-webui-tensorrt/issues/54
NO_OPERATOR_8_6 = """\
[07/18/2023-14:17:05] [E] [TRT] ModelImporter.cpp:729: --- End node ---
[07/18/2023-14:17:05] [E] [TRT] ModelImporter.cpp:732: ERROR: builtin_op_importers.cpp:5428 In \
function importFallbackPluginImporter:
[8] Assertion failed: creator && "Plugin not found, are the plugin name, version, and namespace \
correct?"
[07/18/2023-14:17:05] [E] Failed to parse onnx file
[07/18/2023-14:17:05] [I] Finished parsing network model. Parse time: 1.98327
[07/18/2023-14:17:05] [E] Parsing model failed
[07/18/2023-14:17:05] [E] Failed to create engine from model or file.
[07/18/2023-14:17:05] [E] Engine set up failed
"""

# The banners of later releases; all but the third are from an Orin.
BANNERS = {
    # https://github.com/NVlabs/FoundationStereo/issues/90
    "10.3.0": "&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # /usr/src/tensorrt/bin/trtexec "
    "--loadEngine=toddlerbot/depth/foundation_stereo_vits.engine --useCudaGraph",
    # https://github.com/OE4T/meta-tegra/pull/2243
    "10.16.2": "&&&& RUNNING TensorRT.trtexec [TensorRT v101602] [b10] # /usr/src/tensorrt/bin/"
    "trtexec --onnx=/videos/tinyyolov2-8.onnx --saveEngine=/tmp/yolo.engine",
    # https://github.com/NVIDIA/TensorRT/issues/4587
    "10.13.3": "&&&& RUNNING TensorRT.trtexec [TensorRT v101303] [b9] # ./trtexec "
    "--onnx=ISTD_NS.onnx --saveEngine=ISTD_N.trt",
}

# https://github.com/NVIDIA-AI-IOT/jetson_dla_tutorial/issues/3
DLA_NOW = """\
[W] [TRT] Layer '/model.24/Constant_1_output_0' (CONSTANT): Unsupported on DLA. Switching this \
layer's device type to GPU.
[W] [TRT] Layer '(Unnamed Layer* 277) [Shuffle]' (SHUFFLE): Unsupported on DLA. Switching this \
layer's device type to GPU.
"""
# https://github.com/NVIDIA/TensorRT/issues/2318
DLA_THEN = """\
 [W] [TRT] Default DLA is enabled but layer Embedding matrix is not supported on DLA, falling back \
to GPU.
 [W] [TRT] Default DLA is enabled but layer LSTM encoder is not supported on DLA, falling back to \
GPU.
"""

JOB = {
    "onnx": "m.onnx",
    "plan": "m.plan",
    "layers": "l.json",
    "input": "images",
    "height": 96,
    "width": 128,
    "precision": "int8",
    "typing": "strong",
    "workspace_mb": 512,
    "timing_cache": "t.cache",
    "dla_core": None,
    "gpu_fallback": True,
    "calibration": None,
}


def test_a_run_that_passed_is_recognised():
    assert trtexec.parse(XAVIER_8_4) == trtexec.Report("8.4.0", passed=True, errors=[])


@pytest.mark.parametrize(("version", "banner"), BANNERS.items())
def test_the_release_is_read_from_the_banner(version, banner):
    report = trtexec.parse(banner)
    assert report.version == version
    assert not report.passed


def test_only_the_errors_that_explain_are_kept():
    kernel, assertion = trtexec.parse(NO_KERNEL_8_2).errors
    assert "Could not find any implementation for node" in kernel
    assert "enginePtr" in assertion
    (operator,) = trtexec.parse(NO_OPERATOR_8_6).errors
    assert "Plugin not found" in operator  # it stands on a line of its own


@pytest.mark.parametrize(
    ("output", "code"),
    [
        (NO_KERNEL_8_2, "environment"),
        (NO_OPERATOR_8_6, "environment"),
        ("", "environment"),
        # the message in onnx-tensorrt's ModelImporter.cpp, parseFromFile
        (
            "[01/31/2023-23:55:14] [E] [TRT] ModelImporter.cpp:682: Failed to parse ONNX model "
            "from file: m.onnx!",
            "data",
        ),
        # https://github.com/HuangJunJie2017/BEVDet/issues/132
        (
            "[01/31/2023-23:55:14] [E] Error[2]: [virtualMemoryBuffer.cpp::resizePhysical::144] "
            "Error Code 2: OutOfMemory (no further information)",
            "out_of_memory",
        ),
    ],
)
def test_a_failed_build_names_its_cause(tmp_path, output, code):
    with pytest.raises(AgentError) as caught:
        trtexec.check_built(CompletedProgram(1, output), tmp_path / "plan")
    assert caught.value.code == code


def test_a_pass_without_a_plan_is_a_failure(tmp_path):
    with pytest.raises(AgentError):
        trtexec.check_built(CompletedProgram(0, XAVIER_8_4), tmp_path / "plan")


@pytest.mark.parametrize(
    ("release", "typing", "there", "absent"),
    [
        ((8, 5, 2), "strong", ["--int8", "--fp16", "--buildOnly"], ["--stronglyTyped"]),
        ((8, 6, 2), "flags", ["--int8", "--fp16", "--skipInference"], ["--buildOnly"]),
        ((10, 3, 0), "strong", ["--stronglyTyped", "--skipInference"], ["--int8", "--fp16"]),
        ((10, 3, 0), "flags", ["--int8", "--fp16"], ["--stronglyTyped"]),
        ((11, 4, 1), "flags", ["--skipInference"], ["--int8", "--fp16", "--stronglyTyped"]),
    ],
)
def test_each_release_gets_its_own_options(release, typing, there, absent):
    command = trtexec.build_command("/opt/trtexec", release, {**JOB, "typing": typing})
    assert command[:3] == ["/opt/trtexec", "--onnx=m.onnx", "--saveEngine=m.plan"]
    assert "--memPoolSize=workspace:512" in command
    assert "--optShapes=images:1x96x128x3" in command
    assert set(there) <= set(command) and not set(absent) & set(command)


def test_dla_is_requested_with_or_without_gpu_fallback():
    dla = trtexec.build_command("trtexec", (10, 3, 0), {**JOB, "dla_core": 1})
    assert dla[-2:] == ["--useDLACore=1", "--allowGPUFallback"]
    alone = {**JOB, "dla_core": 0, "gpu_fallback": False}
    assert trtexec.build_command("trtexec", (10, 3, 0), alone)[-1] == "--useDLACore=0"


@pytest.mark.parametrize(
    ("release", "typing"), [((8, 5, 2), "flags"), ((10, 3, 0), "flags"), ((11, 4, 1), "strong")]
)
def test_the_dla_is_typed_by_flags_where_there_are_any(release, typing):
    # https://github.com/NVIDIA/TensorRT/issues/4228: trtexec 10 sets FP16 for a DLA, which a
    # strongly typed network refuses
    command = trtexec.build_command("trtexec", release, {**JOB, "dla_core": 0})
    assert "--stronglyTyped" not in command
    assert ({"--int8", "--fp16"} <= set(command)) == (typing == "flags")
    assert trtexec.typing_name(release, "strong", dla=True) == typing


def test_a_dla_gets_its_cache_and_no_shapes():
    # https://github.com/NVIDIA/TensorRT/issues/2043: "Static model does not take explicit shapes"
    # https://github.com/NVIDIA/TensorRT/issues/2307 for --calib with --useDLACore
    job = {**JOB, "dla_core": 0, "calibration": "int8.cache"}
    for release in ((8, 5, 2), (10, 3, 0)):
        command = trtexec.build_command("trtexec", release, job)
        assert {"--calib=int8.cache", "--int8", "--fp16", "--useDLACore=0"} <= set(command)
        assert not any("Shapes" in each for each in command)
    assert not any("--calib" in each for each in trtexec.build_command("t", (10, 3, 0), JOB))


def test_layers_that_left_the_dla_are_named():
    assert engine_layers.gpu_fallback_layers(DLA_NOW.splitlines() * 2) == [
        "/model.24/Constant_1_output_0",
        "(Unnamed Layer* 277) [Shuffle]",
    ]
    assert engine_layers.gpu_fallback_layers(DLA_THEN.splitlines()) == [
        "Embedding matrix",
        "LSTM encoder",
    ]


def test_the_inspectors_layers_in_both_schemas():
    # TensorRT 10's fields, then those of 11, as its migration guide describes them
    old = {"Name": "conv", "LayerType": "CaskConvolution", "Inputs": [{"Name": "x"}]}
    old["Inputs"][0]["Format/Datatype"] = "Int8 NC/32HW32"
    new = {"Name": "conv", "LayerType": "CaskConvolution", "Inputs": [{"DataType": "Int8"}]}
    for layer in (old, new):
        (read,) = engine_layers.from_inspector(json.dumps({"Layers": [layer]}))
        assert read == {"name": "conv", "kind": "CaskConvolution", "inputs": ["Int8"]}
    assert engine_layers.from_inspector('{"Layers": ["conv"]}')[0]["name"] == "conv"


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", '{"Layers": 3}', '{"Layers": [3]}', '{"Layers": [{"Inputs": 3}]}'],
)
def test_what_is_no_list_of_layers_is_refused(text):
    with pytest.raises(ValueError, match=r"Expecting|no list of layers"):
        engine_layers.from_inspector(text)


STAND_IN = """#!{python}
# A stand-in for trtexec: it replays recorded output, and writes the requested files.
import json, sys
from pathlib import Path
asked = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
if "--saveEngine" in asked:
    Path(asked["--saveEngine"]).write_bytes(b"plan of " + Path(asked["--onnx"]).read_bytes()[:4])
    layer = {{"Name": "conv", "LayerType": "CaskConvolution", "Inputs": []}}
    Path(asked["--exportLayerInfo"]).write_text(json.dumps({{"Layers": [layer]}}))
print({banner!r})
print({said!r})
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    if pytest.importorskip("importlib.util").find_spec("tensorrt"):
        pytest.skip("TensorRT's own module is installed here and comes first")
    folder = tmp_path / "bin with spaces"
    folder.mkdir()
    program = folder / "trtexec"
    said = DLA_NOW + XAVIER_8_4.replace("v8400", "v100300")
    program.write_text(STAND_IN.format(python=sys.executable, banner=BANNERS["10.3.0"], said=said))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return str(program)


def test_a_build_by_trtexec_where_there_is_no_module(tmp_path, stand_in):
    bench = Bench(tmp_path / "work")
    cache = bench.put(b"TRT-100300-EntropyCalibration2\n")
    asked = {
        "id": 1,
        "runtime": "tensorrt",
        "onnx": bench.put(model()),
        "precision": "int8",
        "height": SIDE,
        "width": SIDE,
        "input": "images",
        "dla_core": 0,
        "calibration": cache,
    }
    answer = build(asked, bench.context)
    assert bench.context.stored_file(answer["engine"]).read_bytes().startswith(b"plan of ")
    sidecar = answer["sidecar"]
    assert sidecar["versions"]["runtime"] == "10.3.0"
    assert sidecar["build"]["command"][0] == stand_in
    assert "--int8" in sidecar["build"]["command"]
    assert sidecar["build"]["typing"] == "flags"
    assert sidecar["dla"]["core"] == 0 and len(sidecar["dla"]["gpu_fallback_layers"]) == 2
    assert sidecar["dla"]["calibration"] == cache
    assert f"--calib={bench.context.stored_file(cache)}" in sidecar["build"]["command"]
    assert sidecar["build"]["strong_typing_failed"] is None
    assert bench.said("warn") == []
    (timings,) = (Path(part) for part in sidecar["build"]["command"] if "timingCacheFile" in part)
    assert timings.name.startswith("tensorrt-10.3.0-")
    assert json.loads(bench.context.stored_file(answer["layers"]).read_text())[0]["name"] == "conv"
    assert "Performance summary" in bench.context.stored_file(answer["log"]).read_text()
    assert build({**asked, "id": 2}, bench.context)["reused"]
    assert len(bench.children.started) == 1


def test_an_engine_survives_a_list_of_layers_that_cannot_be_read(tmp_path, stand_in):
    program = Path(stand_in)
    text = program.read_text()
    program.write_text(
        text.replace('json.dumps({"Layers": [layer]})', '\'{"Layers": [{"Name": "co\'')
    )
    assert program.read_text() != text
    bench = Bench(tmp_path / "work")
    answer = build(
        {
            "id": 1,
            "runtime": "tensorrt",
            "onnx": bench.put(model()),
            "precision": "int8",
            "height": SIDE,
            "width": SIDE,
            "input": "images",
        },
        bench.context,
    )
    assert bench.context.stored_file(answer["engine"]).read_bytes().startswith(b"plan of ")
    assert answer["layers"] is None


# https://github.com/NVIDIA/TensorRT/issues/4832, on an Orin
MYELIN = """\
[08/14/2026-10:00:00] [E] Error[9]: Error Code: 9: Skipping tactic 0x0 due to exception \
[type.cpp:186: infer_type] Could not infer output types for operation: 291: dequantize: ... In \
compileGraph at optimizer/myelin/codeGenerator.cpp
[08/14/2026-10:00:00] [E] Engine could not be created from network
&&&& FAILED TensorRT.trtexec [TensorRT v101602] [b10] # trtexec --onnx=quantized_int8.onnx
"""


@pytest.mark.parametrize(("precision", "started"), [("int8", 2), ("fp16", 1)])
def test_int8_that_fails_in_myelin_is_built_with_flags(tmp_path, stand_in, precision, started):
    program = Path(stand_in)
    fails = f"if '--stronglyTyped' in sys.argv:\n    print({MYELIN!r}); sys.exit(1)\n"
    text = program.read_text().replace("v100300", "v101602")
    program.write_text(text.replace("asked = dict(", fails + "asked = dict("))
    bench = Bench(tmp_path / "work")
    asked = {
        "id": 1,
        "runtime": "tensorrt",
        "onnx": bench.put(model()),
        "precision": precision,
        "height": SIDE,
        "width": SIDE,
        "input": "images",
    }
    if precision == "fp16":
        with pytest.raises(AgentError, match="dequantize"):
            build(asked, bench.context)
    else:
        sidecar = build(asked, bench.context)["sidecar"]
        assert sidecar["build"]["typing"] == "flags"
        assert "--int8" in sidecar["build"]["command"]
        assert "dequantize" in sidecar["build"]["strong_typing_failed"]
        assert "built with the flags" in bench.said("warn")[0]["text"]
    assert len(bench.children.started) == started


def test_a_release_that_cannot_read_images_is_refused_before_it_builds(tmp_path, stand_in):
    program = Path(stand_in)
    program.write_text(program.read_text().replace("v100300", "v8400"))
    bench = Bench(tmp_path / "work")
    asked = {
        "id": 1,
        "runtime": "tensorrt",
        "onnx": bench.put(model()),
        "precision": "int8",
        "height": SIDE,
        "width": SIDE,
        "input": "images",
    }
    with pytest.raises(AgentError, match=r"8\.4\.0 cannot read uint8 images") as caught:
        build(asked, bench.context)
    assert caught.value.code == "environment" and "JetPack 5.1" in caught.value.advice
    assert bench.children.started == []
