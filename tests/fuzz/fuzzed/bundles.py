"""Bundles, from the zip archive to the arrays and the engine in it."""

from __future__ import annotations

import functools
import hashlib
import json
import struct
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from invariants import command
from mutations import EXTREMES, Field, json_texts, mutated

from fuzzed.target import Attempts, Target, agent_errors, runtime_errors, tmkd_errors

NEEDS = ("onnx", "onnxruntime")


@functools.cache
def bundle() -> bytes:
    """A small real bundle."""
    import tempfile

    import numpy as np
    from colour_bundle import COLOURS, SIDE, colour_model, measurements, solid, verdict

    from tmkd_deploy.bundle.pack import pack
    from tmkd_deploy.runtime.onnxruntime_session import create_session

    images = np.stack([solid(colour) for colour in COLOURS])
    logits = create_session(colour_model(), threads=1).run(None, {"pixels": images})[0]
    with tempfile.TemporaryDirectory() as folder:
        engine = Path(folder) / "fp32.onnx"
        engine.write_bytes(colour_model())
        record = pack(
            name="colours",
            engine=engine,
            precision="fp32",
            runtime="onnxruntime",
            measurements=measurements(),
            verdict=verdict(),
            class_names=COLOURS,
            image_size=SIDE,
            golden_images=images,
            golden_logits=logits,
            golden_tolerance=1e-3,
            into=Path(folder),
        )
        return (Path(folder) / record.file).read_bytes()


@functools.cache
def members() -> dict[str, bytes]:
    """The bundle's contents."""
    with zipfile.ZipFile(BytesIO(bundle())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(contents: dict[str, bytes]) -> bytes:
    """A bundle of these members, whatever they are."""
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


def with_member(name: str, content: bytes) -> bytes:
    """The bundle with another member, and a manifest that fits it."""
    document = json.loads(members()["manifest.json"])
    digest = hashlib.sha256(content).hexdigest()
    document["files"][name] = {"bytes": len(content), "sha256": digest}
    return packed({**members(), name: content, "manifest.json": json.dumps(document).encode()})


def _zip_fields(raw: bytes) -> list[Field]:
    fields: list[Field] = []
    for magic, shape in (
        (b"PK\3\4", (4, 2, 2, 2, 2, 2, 4, 4, 4, 2, 2)),
        (b"PK\1\2", (4, 2, 2, 2, 2, 2, 2, 4, 4, 4, 2, 2, 2, 2, 2, 4, 4)),
        (b"PK\5\6", (4, 2, 2, 2, 2, 4, 4, 2)),
    ):
        at = raw.find(magic)
        while at >= 0:
            offset = at
            for size in shape:
                fields.append(Field(offset, size))
                offset += size
            at = raw.find(magic, at + 4)
    return fields


NAMES = [
    *("../engine.onnx", "/etc/passwd", "a/b", "a\\b", "..", ".hidden", "folder/", "", "é", "\0"),
    *("manifest.json", "golden_inputs.npy", "engine.onnx", "ENGINE.ONNX", "\x1b[2J", "\u202e"),
    "a" * 300,
]


@st.composite
def _zips(draw: st.DrawFn) -> bytes:
    """The bundle with its bytes or its structure changed."""
    raw = bundle()
    if draw(st.integers(0, 2)):
        return draw(mutated(raw, _zip_fields(raw), pieces=[b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6"]))
    entries = list(members().items())
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(entries) - 1))
        name, content = entries[at]
        what = draw(st.sampled_from(["rename", "drop", "repeat", "add", "cut", "swap"]))
        if what == "rename":
            entries[at] = (draw(st.sampled_from(NAMES)), content)
        elif what == "drop" and len(entries) > 1:
            del entries[at]
        elif what == "repeat":
            entries.append((name, draw(st.sampled_from([content, b"", content[::-1]]))))
        elif what == "add":
            entries.append((draw(st.sampled_from(NAMES)), draw(st.binary(max_size=20))))
        elif what == "cut":
            entries[at] = (name, content[: draw(st.integers(0, len(content)))])
        else:
            entries[0], entries[at] = entries[at], entries[0]
    return _written(draw, entries)


def _written(draw: st.DrawFn, entries: list[tuple[str, bytes]]) -> bytes:
    import warnings

    stream = BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")  # that a name is given twice is the point
        for name, content in entries:
            entry = zipfile.ZipInfo(name)
            if draw(st.integers(0, 9)) == 0:
                entry.external_attr = draw(st.sampled_from([0o120777, 0o040755, 0o010644])) << 16
            kinds = [zipfile.ZIP_STORED] * 9 + [zipfile.ZIP_DEFLATED]
            archive.writestr(entry, content, draw(st.sampled_from(kinds)))
        if draw(st.integers(0, 9)) == 0:
            archive.comment = b"PK\5\6" + bytes(18)
    return stream.getvalue()


def _try_bundle(raw: bytes, folder: Path) -> Attempts:
    from tmkd_deploy.runtime import load, verify

    path = folder / "a.tmkd"
    path.write_bytes(raw)
    yield lambda: verify(path)

    def predict() -> None:
        import numpy as np

        classifier = load(path, verify=False)
        images = [np.zeros((3, 5, 3), np.uint8)] * 3
        found = classifier.predict_batch(images)
        if len(found) != len(images):
            from invariants import ViolatedError

            raise ViolatedError("meaning", "one answer an image is promised", "predict_batch")

    yield predict


def _try_commands(raw: bytes, folder: Path) -> Attempts:
    yield from _try_bundle(raw, folder)
    path = str(folder / "a.tmkd")
    yield lambda: command("bundle", "show", path)
    yield lambda: command("bundle", "verify", path)
    yield lambda: command("bundle", "verify", "--json", path)


def _manifests() -> st.SearchStrategy[bytes]:
    return json_texts(json.loads(members()["manifest.json"]))


def _try_manifest(content: bytes, folder: Path) -> Attempts:
    yield from _try_commands(packed({**members(), "manifest.json": content}), folder)


HEADERS = [
    *("", "{", "{}", "{'descr': '|u1'}", "[]", "1", "'" * 50, "(" * 400, "{" * 3000, "\n\t x", "\0"),
    *("{'descr': '|O', 'fortran_order': False, 'shape': (3, 8, 8, 3), }", "a b c", "0b2", "1__0"),
    *("{'descr': '|u1', 'fortran_order': False, 'shape': (-1,), }", "  indented\n more\n", "'''"),
    "{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999, 8, 8, 3), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 8, 8, 3), }",
    "{'descr': '|u1', 'fortran_order': 0, 'shape': (3L, 8, 8, 3), }",
    "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (3, 8, 8, 3), }",
    "{'descr': ('|u1', (2, 2)), 'fortran_order': False, 'shape': (3, 8, 8, 3), }",
    "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (3, 8, 8, 3), }",
    "{'descr': '|V9999999999', 'fortran_order': False, 'shape': (), }",
    "__import__('os').system('id')",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 8, 8, 3), 'descr': None}",
    "-" * 5000 + "1",
    "{1:" * 200,
]


@st.composite
def arrays(draw: st.DrawFn, original: bytes) -> bytes:
    """A `.npy` file with its bytes or its header changed."""
    if draw(st.booleans()):
        return draw(mutated(original, [Field(6, 1), Field(7, 1), Field(8, 2), Field(10, 1)]))
    length = struct.unpack("<H", original[8:10])[0]
    header, rest = original[10 : 10 + length].decode("latin1"), original[10 + length :]
    if draw(st.booleans()):
        header = draw(st.sampled_from(HEADERS))
    else:
        old = draw(st.sampled_from(["|u1", "False", "(", ")", ",", "'", "descr", "shape", " ", "3"]))
        new = draw(st.sampled_from(HEADERS) | st.text("(){}[]',:0123456789-+.eEjJLxuO \t\n#\\", max_size=8))
        header = header.replace(old, new, 1)
    encoded = header.encode("utf-8", "replace")[:65000] + b"\n"
    version = draw(st.sampled_from([(1, 0), (1, 0), (1, 0), (2, 0), (3, 0), (9, 9)]))
    size = struct.pack("<H" if version[0] == 1 else "<I", len(encoded))
    return b"\x93NUMPY" + bytes(version) + size + encoded + rest


def _golden() -> st.SearchStrategy[Any]:
    return st.sampled_from(["golden_inputs.npy", "golden_outputs.npy"]).flatmap(
        lambda name: st.tuples(st.just(name), arrays(members()[name]))
    )


def _try_arrays(case: tuple[str, bytes], folder: Path) -> Attempts:
    from tmkd_deploy.agent.agent_errors import AgentError
    from tmkd_deploy.agent.inference.predict_request import read_images

    name, content = case
    yield from _try_bundle(with_member(name, content), folder)
    file = folder / "images.npy"
    file.write_bytes(content)

    def on_the_device() -> None:
        try:
            read_images(file)
        except AgentError as error:
            if not error.problem.endswith("."):
                raise

    if name == "golden_inputs.npy":
        yield on_the_device


@functools.cache
def _model() -> bytes:
    return members()["engine.onnx"]


@st.composite
def _models(draw: st.DrawFn) -> bytes:
    """The engine with its bytes, its tensors or its graph changed."""
    if draw(st.integers(0, 2)) == 0:
        return draw(mutated(_model()))
    import onnx

    proto = onnx.load_from_string(_model())
    for _ in range(draw(st.integers(1, 3))):
        _change_graph(draw, proto)
    content: bytes = proto.SerializeToString()
    return draw(mutated(content)) if draw(st.integers(0, 5)) == 0 else content


OPERATORS = [
    *("Relu", "Softmax", "Loop", "If", "Scan", "Expand", "Tile", "Resize", "Conv", "MatMul", "Nope"),
    *("Log", "Sqrt", "Reshape", "ConstantOfShape", "Range", "QuantizeLinear", "Identity", "Pad"),
]


def _change_graph(draw: st.DrawFn, proto: Any) -> None:
    graph = proto.graph
    what = draw(st.sampled_from(range(11)))
    nodes = [node for node in graph.node if node is not None]
    node = draw(st.sampled_from(nodes)) if nodes else None
    number = draw(st.sampled_from(EXTREMES[:13]) | st.integers(0, 2**31 - 1))
    if what == 0 and node:
        node.op_type = draw(st.sampled_from(OPERATORS))
    elif what == 1 and node and node.input:
        node.input[0] = draw(st.sampled_from(["pixels", "logits", "", "weights", "means", "none"]))
    elif what == 2 and node and node.output:
        node.output[0] = draw(st.sampled_from(["pixels", "logits", "", "flat", "x"]))
    elif what == 3 and graph.initializer:
        graph.initializer[0].dims[:] = draw(st.lists(st.sampled_from([0, 1, 3, 9, -1, number])))
    elif what == 4 and graph.initializer:
        graph.initializer[0].data_type = draw(st.integers(0, 30))
    elif what == 5:
        value = draw(st.sampled_from([*graph.input, *graph.output]))
        shape = value.type.tensor_type.shape
        if shape.dim:
            draw(st.sampled_from(list(shape.dim))).dim_value = number
    elif what == 6:
        value = draw(st.sampled_from([*graph.input, *graph.output]))
        value.type.tensor_type.elem_type = draw(st.integers(0, 30))
    elif what == 7:
        proto.opset_import[0].version = number
    elif what == 8:
        proto.ir_version = number
    elif what == 9 and graph.initializer:
        tensor = graph.initializer[0]
        tensor.data_location = 1
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", draw(st.sampled_from(["../canary/secret", "/etc/passwd", "x"]))
    elif node and node.attribute:
        node.attribute[0].i = number
        node.attribute[0].type = draw(st.integers(0, 14))


def _try_model(content: bytes, folder: Path) -> Attempts:
    yield from _try_bundle(with_member("engine.onnx", content), folder)
    file = folder / "model.onnx"
    file.write_bytes(content)
    yield from _try_builder(file, folder)
    yield from _try_agent(file)


def _try_builder(file: Path, folder: Path) -> Attempts:
    import numpy as np
    from colour_bundle import SIDE

    from tmkd_deploy.engines.onnxruntime import OnnxRuntime
    from tmkd_deploy.targets import catalog

    runtime, profile = OnnxRuntime(), catalog.get("cpu")
    yield lambda: runtime.build(file, "fp32", SIDE, profile, folder)
    yield lambda: runtime.open(file, 1)


def _try_agent(file: Path) -> Attempts:
    from tmkd_deploy.agent.build.onnx_metadata import read_metadata
    from tmkd_deploy.agent.inference.sessions import open_session

    yield lambda: read_metadata(file)
    yield lambda: open_session("onnxruntime", file, 1, None)


def _errors(*groups: Callable[[], Any]) -> Callable[[], tuple[type[BaseException], ...]]:
    return lambda: tuple(kind for group in groups for kind in group())


TARGETS = [
    Target(
        "bundles",
        _zips,
        bundle,
        _try_commands,
        _errors(runtime_errors, tmkd_errors),
        share=4,
        needs=NEEDS,
    ),
    Target(
        "bundle manifests",
        _manifests,
        lambda: members()["manifest.json"],
        _try_manifest,
        _errors(runtime_errors, tmkd_errors),
        share=4,
        needs=NEEDS,
    ),
    Target(
        "npy headers",
        _golden,
        lambda: ("golden_inputs.npy", members()["golden_inputs.npy"]),
        _try_arrays,
        _errors(runtime_errors, tmkd_errors),
        share=3,
        needs=NEEDS,
    ),
    Target(
        "onnx files",
        _models,
        _model,
        _try_model,
        _errors(runtime_errors, tmkd_errors, agent_errors),
        share=2,
        needs=NEEDS,
    ),
]
