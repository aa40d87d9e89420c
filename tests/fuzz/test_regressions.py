"""Files that once broke something, one test for each, small and named after what they were.

Each runs in a cage, because some of them took all memory or never ended. Those that come from
devices are in test_regressions_devices.py.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from conftest import Holds
from fuzzed import bundles, data, files, images, recipes
from invariants import command

ESCAPE = "\x1b]52;c;cm0gLXJm\x07\x1b[2J"
NPY = b"\x93NUMPY\x01\x00"


def png(width: int, height: int, depth: int, colour: int, scanlines: bytes) -> bytes:
    """A PNG file with this header, and these bytes for its pixels."""

    def piece(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = piece(b"IDAT", zlib.compress(scanlines)) if scanlines else b""
    return b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", header) + pixels + piece(b"IEND", b"")


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
    content = json.dumps({**recipes.RECIPE, "data": {**recipes.RECIPE["data"], "class_names": ["a\ud800", "b"]}})
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
@pytest.mark.parametrize("name", ["golden_inputs.npy", "golden_outputs.npy"])
def test_npy_headers_that_python_cannot_parse(holds: Holds, name: str, header: str) -> None:
    content = NPY + struct.pack("<H", len(header) + 1) + header.encode() + b"\n"
    holds("npy headers", (name, content))


@pytest.mark.parametrize("depth", [900, 20_000])
def test_a_manifest_nested_deeply(holds: Holds, depth: int) -> None:
    manifest = bundles.members()["manifest.json"].rstrip()
    nested = b'{"a":' * depth + b"1" + b"}" * depth
    holds("bundle manifests", manifest[:-1] + b',"latency_":' + nested + b"}")
    document = json.loads(manifest) | {"latency": "NESTED"}
    holds("bundle manifests", json.dumps(document).encode().replace(b'"NESTED"', nested))


def test_labels_with_escapes_in_a_bundle(holds: Holds) -> None:
    for text in (ESCAPE, "\u202eevil", "\x9b31m"):
        document = json.loads(bundles.members()["manifest.json"])
        document |= {"class_names": [text, "b", "c"], "name": text, "target": text}
        holds("bundle manifests", json.dumps(document).encode())
        holds("bundle manifests", json.dumps({**document, "runtime": text}).encode())


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
    holds("bundles", bundles.with_member("engine.onnx", model))


def test_an_engine_that_answers_for_fewer_images(holds: Holds) -> None:
    np = pytest.importorskip("numpy")
    pytest.importorskip("onnx")
    model = _model(_constant("logits", np.zeros((1, 3), np.float32)))
    holds("bundles", bundles.with_member("engine.onnx", model))


def test_an_engine_whose_logits_are_not_numbers_is_not_measured(tmp_path: Path) -> None:
    for package in ("onnx", "onnxruntime", "torch"):
        pytest.importorskip(package)
    from unittest import mock

    import numpy as np
    from colour_bundle import COLOURS, SIDE, colour_model, measurements, solid

    from tmkd_deploy.errors import TmkdError
    from tmkd_deploy.events import SilentEvents
    from tmkd_deploy.measure.bench import EngineUnderTest, LocalBench
    from tmkd_deploy.measure.ledger import Entry
    from tmkd_deploy.measure.measure import InTorch, measure
    from tmkd_deploy.recipe.schema import Measure
    from tmkd_deploy.records.engine import EngineRecord

    engine = tmp_path / "fp32.onnx"
    engine.write_bytes(colour_model(np.full((3, 3), np.nan, np.float32)))
    photos = np.stack([solid(colour) for colour in COLOURS])
    under_test = {"fp32": EngineUnderTest("FP32", "onnxruntime", engine)}
    settings = Measure(threads=1, min_runs=10, min_seconds=0.01, warmup_seconds=0.01)
    sound = np.eye(3, dtype=np.float32)
    entries = [
        Entry("teacher", "teacher", "fp32", "Teacher", sound),
        Entry("student", "student", "fp32", "Student", sound, "teacher"),
    ]
    stated = mock.Mock(class_names=COLOURS)
    stated.images.return_value, stated.labels.return_value = photos, np.arange(3)
    record = EngineRecord(
        target="cpu", runtime="onnxruntime", engines=measurements().engines, kit=[], notes=[]
    )
    with pytest.raises(TmkdError):
        measure(
            mock.Mock(seed=1),
            stated,
            InTorch(entries, 1, 1),
            record,
            {"fp32": engine},
            LocalBench(under_test, photos, settings, SilentEvents()),
            tmp_path,
            SilentEvents(),
        )


@pytest.mark.parametrize("threads", [0, -1, 10**6])
def test_impossible_numbers_of_threads(tmp_path: Path, threads: int) -> None:
    pytest.importorskip("onnxruntime")
    from tmkd_deploy.runtime import load

    path = tmp_path / "a.tmkd"
    path.write_bytes(bundles.bundle())
    with pytest.raises((ValueError, TypeError)):
        load(path, threads=threads)


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


# --- images


@pytest.mark.parametrize("side", [(9459, 9459), (89_000_000, 1), (1, 89_000_000)])
@pytest.mark.parametrize(("depth", "colour"), [(16, 0), (8, 2), (1, 3), (8, 6)])
def test_a_tiny_file_of_very_many_pixels(
    holds: Holds, side: tuple[int, int], depth: int, colour: int
) -> None:
    holds("images", png(*side, depth, colour, b"\0" * 8))


def test_an_image_that_ends_early(tmp_path: Path) -> None:
    from tmkd_deploy.runtime.image import UnreadableImage, read_rgb

    rows = b"".join(b"\0" + bytes([200] * 24) for _ in range(4))
    with pytest.raises(UnreadableImage):
        read_rgb(png(8, 8, 8, 2, rows))  # four of eight rows
    with pytest.raises(UnreadableImage):
        read_rgb(png(8, 8, 8, 2, b""))
    whole = images.originals()["png"]
    with pytest.raises(UnreadableImage):
        read_rgb(whole[: len(whole) // 2])


# --- data sets


def _header(size: bytes, kind: bytes = b"0", name: str = "0.png") -> bytes:
    member = tarfile.TarInfo(name)
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[124:136], header[156:157] = size, kind
    return data._with_tar_checksums(bytes(header))


@pytest.mark.parametrize(
    "size", [b"\xff" * 12, b"\xff" * 11 + b"\0", b"-0000000001\0", b"\x80" + b"\xff" * 11, b"x" * 12]
)
@pytest.mark.parametrize("kind", [b"0", b"S", b"x", b"g", b"L", b"5"])
def test_tar_members_of_impossible_sizes(holds: Holds, size: bytes, kind: bytes) -> None:
    holds("tar shards", _header(size, kind) + bytes(2048))
    holds("tar shards", data._tars()[0][:-1024] + _header(size, kind) + bytes(1024))


@pytest.mark.parametrize("record", data.PAX)
def test_extended_tar_headers(holds: Holds, record: str) -> None:
    text = f"{record}\n".encode("utf-8", "surrogatepass")
    number = len(text) + 3
    content = b"%d " % (number if number > 9 else number - 1) + text
    member = tarfile.TarInfo("x")
    member.type, member.size = b"x", len(content)
    header = member.tobuf(tarfile.USTAR_FORMAT) + content.ljust(512, b"\0")
    holds("tar shards", header + data._tars()[0])


def test_a_sparse_tar_member_of_terabytes(holds: Holds) -> None:
    header = bytearray(_header(b"00000000010\0", b"S", "0.png"))
    header[386:398], header[398:410] = b"00000000000\0", b"00000000010\0"
    header[483:495] = b"77777777777\0"
    holds("tar shards", data._with_tar_checksums(bytes(header)) + bytes(2048))


@pytest.mark.parametrize("numbers", ["0..999999999", "0.." + "9" * 5000, "9..1", "٠..٩"])
def test_a_range_of_very_many_shards(holds: Holds, numbers: str) -> None:
    holds("data paths", ("webdataset", f"shard-{{{numbers}}}.tar"))


def test_a_small_parquet_file_of_gigabytes(holds: Holds) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    row = {"bytes": bytes(64 << 20), "path": "a.png"}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    indices = pa.array([0] * 64, pa.int32())
    big = pa.array([row["bytes"]], pa.binary())
    stream = io.BytesIO()
    columns = {"label": pa.array([number % 2 for number in range(64)])}
    repeated = pa.DictionaryArray.from_arrays(indices, big)
    struct_ = pa.StructArray.from_arrays(
        [repeated, pa.array(["a.png"] * 64)], names=["bytes", "path"]
    )
    assert kind is not None
    table = pa.table({"image": struct_, **columns})
    pq.write_table(table, stream, compression="zstd", use_dictionary=True, store_schema=False)
    assert len(stream.getvalue()) < 1 << 20
    holds("parquet shards", stream.getvalue())


@pytest.mark.parametrize("metadata", [b"[" * 900, b"[" * 100_000, b'["a\\ud800","b"]', b"\xff", b'{"a":' * 5000])
def test_hostile_class_names_in_parquet_metadata(holds: Holds, metadata: bytes) -> None:
    pytest.importorskip("pyarrow")
    holds("parquet shards", data._table.__wrapped__("struct", "int64", metadata, "none"))


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "loop"])
@pytest.mark.parametrize("place", ["image", "shard", "parquet", "recipe", "bundle", "weights"])
def test_what_is_not_a_regular_file(tmp_path: Path, kind: str, place: str) -> None:
    """A pipe would be waited for, and /dev/zero read, for ever."""
    names = {"image": "data/a/0.png", "shard": "0.tar", "parquet": "0.parquet"}
    path = tmp_path / names.get(place, f"{place}.yaml")
    for name in ("data/a/1.png", "data/b/0.png", "data/b/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data._images()[int(name[7])])
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path)
    code, out, err = _in_child(_OPEN, place, str(path), str(tmp_path))
    assert code == 0, f"{code}\n{out}\n{err}"


_OPEN = """
import sys
from pathlib import Path
place, path, folder = sys.argv[1:]
sys.path[:0] = [FUZZ]
from fuzzed import targets, data
from tmkd_deploy.errors import TmkdError
def use():
    if place == "recipe":
        from tmkd_deploy.recipe.load import load
        load(Path(path))
    elif place == "bundle":
        from tmkd_deploy.runtime import load
        load(path)
    elif place == "weights":
        from safetensors import SafetensorError
        from tmkd_deploy.models.weights import read_checkpoint
        read_checkpoint(Path(path))
    else:
        source = {"image": "folder", "shard": "webdataset", "parquet": "parquet"}[place]
        data._prepared(source, Path(folder, "data") if place == "image" else Path(path), Path(folder))
from tmkd_deploy.runtime import BundleError
try:
    use()
    print("accepted")
    sys.exit(0 if place == "image" else 3)
except (TmkdError, BundleError) as error:
    print("refused:", error)
"""


def _in_child(program: str, *arguments: str, seconds: float = 30.0) -> tuple[int, str, str]:
    """Run `program` with bounded memory; a hang is exit code -9."""
    preamble = (
        f"import resource; resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, 4 << 30))\n"
        f"FUZZ = {str(Path(__file__).parent)!r}\n"
    )
    words = [sys.executable, "-c", preamble + program, *arguments]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            return -9, out, "it hangs"
    return process.returncode, out, err


# --- run folders and weights


@pytest.mark.parametrize("name", ["../../canary/secret", "../../../../etc/passwd", "/etc/passwd", "..", "a\0b"])
def test_a_resealed_manifest_that_names_other_files(holds: Holds, name: str) -> None:
    manifest = json.loads(json.dumps(files._manifest()))
    target = Path(name) if name.startswith("/") else Path("/etc/passwd")
    content = target.read_bytes()
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    if "canary" in name:
        secret = b"do not read this\n"
        entry = {"sha256": hashlib.sha256(secret).hexdigest(), "bytes": len(secret)}
    manifest["files"][name] = entry
    holds("artifact manifests", (json.dumps(manifest).encode(), True))


def test_a_lock_that_is_a_link(tmp_path: Path) -> None:
    from tmkd_deploy.errors import TmkdError
    from tmkd_deploy.pipeline.run_lock import only_process_in

    precious = tmp_path / "precious"
    precious.write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").symlink_to(precious)
    try:
        with only_process_in(run):
            pass
    except TmkdError:
        pass
    assert precious.read_text() == "mine"


def test_drafts_behind_a_link_stay(tmp_path: Path) -> None:
    from tmkd_deploy.pipeline.run import _sweep

    outside = tmp_path / "outside" / ".mine-draft-1"
    outside.mkdir(parents=True)
    run = tmp_path / "run"
    run.mkdir()
    for name in ("measure", "build", "bundle", "gate"):
        (run / name).symlink_to(outside.parent)
    _sweep(run)
    assert outside.exists()


@pytest.mark.parametrize("content", files.EVIL)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_checkpoints_that_are_none(holds: Holds, suffix: str, content: bytes) -> None:
    holds("checkpoints", (suffix, content))


@pytest.mark.parametrize("form", ["Html", "Markdown", "Json", "JUnit"])
def test_hostile_names_in_reports(form: str) -> None:
    pytest.importorskip("jinja2")
    from importlib import import_module

    from invariants import of_text
    from report_fixture import cpu_target, run_report

    names = [f"a{ESCAPE}", "\u202eb\u2066"]
    module = import_module(f"tmkd_deploy.report.{form.lower()}")
    text = getattr(module, form)().render(run_report(cpu_target(names), class_names=names))
    codes = [each for each in of_text(text, "") if each.kind == "control codes"]
    assert not codes, codes
