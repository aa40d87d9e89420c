"""Files that once broke something, one test for each, small and named after what they were.

Each runs in a cage, because some of them took all memory or never ended. Those that come from
devices are in test_regressions_devices.py, and data sets, images and run folders in
test_regressions_data.py. Engines whose logits are no numbers are in tests/unit/measure.
"""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from cage import Holds
from children import in_child
from fuzzed import bundles, images, recipes
from invariants import command

ESCAPE = "\x1b]52;c;cm0gLXJm\x07\x1b[2J"
NPY = b"\x93NUMPY\x01\x00"


# --- recipes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("checkpoint_path", "evil.pth"),
        ("pretrained", True),
        ("pretrained_cfg", "evil"),
        ("cache_dir", "/tmp"),
        ("pretrained_cfg_overlay", "evil"),
    ],
)
def test_student_arguments_that_load_files_are_refused(
    tmp_path: Path, name: str, value: Any
) -> None:
    pytest.importorskip("timm")
    recipe = {**recipes.RECIPE, "student": {"model": "resnet10t", "model_kwargs": {name: value}}}
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(recipe))
    code, _, err = command("recipe", "check", str(path))
    assert code == 2
    assert name in err


@pytest.mark.parametrize("text", ["a\0b", "~nobody/x", "~no-such-user/x", "\ud800", ESCAPE])
@pytest.mark.parametrize("key", ["data.train", "student.weights", "name", "teacher.visual.model"])
def test_a_text_that_no_path_can_be(holds: Holds, key: str, text: str) -> None:
    recipe = json.loads(json.dumps(recipes.RECIPE))
    holder = recipe
    *parents, last = key.split(".")
    for part in parents:
        holder = holder[part]
    holder[last] = text
    holds("recipes", json.dumps(recipe).encode())


def test_class_names_with_lone_surrogates(holds: Holds) -> None:
    content = json.dumps(
        {**recipes.RECIPE, "data": {**recipes.RECIPE["data"], "class_names": ["a\ud800", "b"]}}
    )
    holds("recipes", content.encode())


def test_escapes_in_the_keys_of_a_recipe(holds: Holds) -> None:
    holds("recipes", json.dumps({**recipes.RECIPE, ESCAPE: 1}).encode())


def test_escapes_in_overrides(holds: Holds) -> None:
    for override in (f"{ESCAPE}=1", f"name={ESCAPE}", ESCAPE, f"distill.epochs={ESCAPE}"):
        holds("overrides", [override])


def test_thousands_of_unknown_keys_are_refused_in_proportionate_time(tmp_path: Path) -> None:
    from tmkd_deploy.errors import RequestError
    from tmkd_deploy.recipe.load import load

    def seconds(count: int) -> float:
        path = tmp_path / "recipe.yaml"
        path.write_text("".join(f"key{number}: 1\n" for number in range(count)))
        began = time.process_time()
        with pytest.raises(RequestError) as caught:
            load(path)
        assert len(str(caught.value)) < 64 << 10, "the message is endless"
        return time.process_time() - began

    seconds(100)
    assert seconds(12_000) < 20 * max(seconds(2_000), 0.05)


# --- bundles


@pytest.mark.parametrize(
    "header",
    ["'''", "{'descr': '|u1',", "a b c", "{'a': 1__0}", "  {}\n {}", "(" * 400, "-" * 9000 + "1"],
)
@pytest.mark.parametrize("name", ["golden_inputs-0.npy", "golden_outputs-0.npy"])
def test_npy_headers_that_python_cannot_parse(holds: Holds, name: str, header: str) -> None:
    content = NPY + struct.pack("<H", len(header) + 1) + header.encode() + b"\n"
    holds("npy headers", (name, content))


@pytest.mark.parametrize("depth", [900, 20_000])
def test_a_manifest_nested_deeply(holds: Holds, depth: int) -> None:
    manifest = bundles.members()["manifest.json"].rstrip()
    nested = b'{"a":' * depth + b"1" + b"}" * depth
    holds("bundle manifests", manifest[:-1] + b',"latency_":' + nested + b"}")
    document = json.loads(manifest)
    document["engines"][0]["latency"] = "NESTED"
    holds("bundle manifests", json.dumps(document).encode().replace(b'"NESTED"', nested))


def test_labels_with_escapes_in_a_bundle(holds: Holds) -> None:
    for text in (ESCAPE, "\u202eevil", "\x9b31m"):
        document = json.loads(bundles.members()["manifest.json"])
        document |= {"class_names": [text, "b", "c"], "name": text}
        document["engines"][0]["target"] = text
        holds("bundle manifests", json.dumps(document).encode())
        document["engines"][0]["runtime"] = text
        holds("bundle manifests", json.dumps(document).encode())


def _model(*nodes: Any, classes: int = 3) -> bytes:
    """An engine for the colour bundle, of other nodes."""
    import onnx
    from colour_bundle import SIDE
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        list(nodes),
        "evil",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
    )
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    content: bytes = model.SerializeToString()
    assert onnx.load_from_string(content)
    return content


def _constant(name: str, value: Any) -> Any:
    from onnx import helper, numpy_helper

    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))


def test_an_engine_that_loops_for_ever(holds: Holds) -> None:
    np, onnx = pytest.importorskip("numpy"), pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes on"]),
            helper.make_node("Identity", ["carried"], ["carries"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, [1, 3]),
        ],
        [
            helper.make_tensor_value_info("goes on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carries", TensorProto.FLOAT, [1, 3]),
        ],
    )
    model = _model(
        _constant("turns", np.array(2**62)),
        _constant("true", np.array(True)),
        _constant("zero", np.zeros((1, 3), np.float32)),
        helper.make_node("Loop", ["turns", "true", "zero"], ["logits"], body=body),
    )
    assert onnx is not None
    holds("bundles", bundles.with_member("engine-0.onnx", model))


def test_an_engine_that_answers_for_fewer_images(holds: Holds) -> None:
    np = pytest.importorskip("numpy")
    pytest.importorskip("onnx")
    model = _model(_constant("logits", np.zeros((1, 3), np.float32)))
    holds("bundles", bundles.with_member("engine-0.onnx", model))


@pytest.mark.parametrize(
    "first",
    [
        "from tmkd_deploy.runtime import verify; verify(sys.argv[1])",
        "from tmkd_deploy.cli.main import main; main(['bundle', 'verify', sys.argv[1]])",
    ],
)
def test_running_an_engine_leaves_nothing_in_the_home(tmp_path: Path, first: str) -> None:
    """ONNX Runtime 1.32 keeps a device's number and a database of events to send to its maker."""
    pytest.importorskip("onnxruntime")
    home, path = tmp_path / "home", tmp_path / "a.tmkd"
    home.mkdir()
    path.write_bytes(bundles.bundle())
    preamble = (
        "import os, sys\n"
        f"os.environ.update(HOME={str(home)!r}, XDG_CACHE_HOME={str(home / 'cache')!r})\n"
        "os.environ.pop('ORT_DISABLE_TELEMETRY', None)\n"
    )
    code, _, err = in_child(preamble + first, str(path))
    assert code == 0, err
    assert [str(each) for each in home.rglob("*") if each.is_file()] == []


@pytest.mark.parametrize("threads", [0, -1, 10**6, 2**31, 2**70])
def test_impossible_numbers_of_threads(tmp_path: Path, threads: int) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "a.tmkd"
    path.write_bytes(bundles.bundle())
    program = """
import sys
from tmkd_deploy.runtime import BundleError, load
try:
    load(sys.argv[1], threads=int(sys.argv[2]))
except (ValueError, TypeError, BundleError) as error:
    print(error)
else:
    sys.exit("accepted")
"""
    code, out, err = in_child(program, str(path), str(threads))
    assert code == 0, err
    assert "ONNX Runtime" not in out, "it is refused before a session is made"


@pytest.mark.parametrize("image", [bytearray(b"x"), None, 7, memoryview(b"x"), "PIL"])
def test_what_is_no_image_at_all(image: Any) -> None:
    pytest.importorskip("onnxruntime")
    if image == "PIL":
        from PIL import Image

        image = Image.new("RGB", (4, 4))
    from tmkd_deploy.runtime import UnreadableImage

    try:
        images._classifier().predict(image)
    except (UnreadableImage, TypeError) as error:
        assert str(error).endswith(".")
