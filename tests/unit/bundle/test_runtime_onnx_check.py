"""Models that are refused before ONNX Runtime sees them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import hostile_engines
import numpy as np
import onnx
import onnxruntime
import pytest
from colour_bundle import colour_model, with_member
from hypothesis import example, given
from hypothesis import strategies as st

from tmkd_deploy.runtime import BundleError, load, onnx_check, verify
from tmkd_deploy.runtime.onnx_check import UnsafeModelError, refuse_unsafe
from tmkd_deploy.runtime.onnxruntime_session import create_session

REFUSED: list[tuple[Callable[[], bytes], str]] = [
    (hostile_engines.loop, "operator 'Loop', which may never end"),
    (hostile_engines.branch, "operator 'If', which may never end"),
    (hostile_engines.own_function, "outside the ONNX standard|functions of its own"),
    (hostile_engines.foreign_operator, "outside the ONNX standard, of 'com.microsoft'"),
    (lambda: hostile_engines.weights_elsewhere("weights.bin"), "weights in another file"),
    (lambda: hostile_engines.weights_elsewhere("../../etc/passwd"), "weights in another file"),
    (lambda: hostile_engines.constant_elsewhere("weights.bin"), "weights in another file"),
    (hostile_engines.sparse, "sparse tensors"),
]


@pytest.mark.parametrize(("engine", "match"), REFUSED)
def test_an_engine_that_is_more_than_a_plain_graph_is_refused(
    bundle: Path, engine: Callable[[], bytes], match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle.parent)
    Path("weights.bin").write_bytes(np.eye(3, dtype=np.float32).tobytes())
    with_member(bundle, "engine-0.onnx", engine())
    for use in (verify, load, lambda path: load(path, verify=False)):
        with pytest.raises(BundleError, match=f"The bundle cannot be used: its engine .*({match})"):
            use(bundle)


def test_a_file_is_checked_as_bytes_are(tmp_path: Path) -> None:
    path = tmp_path / "engine-0.onnx"
    path.write_bytes(hostile_engines.loop())
    with pytest.raises(UnsafeModelError, match="Loop"):
        create_session(str(path), threads=1)
    path.write_bytes(colour_model())
    assert create_session(str(path), threads=1)
    path.write_bytes(b"")
    with pytest.raises(UnsafeModelError, match="is empty"):
        create_session(str(path), threads=1)


def test_the_format_of_onnx_runtime_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "engine.ort"
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.save_model_format", "ORT")
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(colour_model(), options, providers=["CPUExecutionProvider"])
    content = path.read_bytes()
    assert content[4:8] == b"ORTM"
    with pytest.raises(UnsafeModelError, match="not an ONNX model"):
        create_session(content, threads=1)


def test_onnx_runtime_never_guesses_the_format() -> None:
    # a sound ONNX model, with a mark that ONNX Runtime takes for its own format, unless told
    model = bytes([14 << 3 | 2, 8, 0x0A, 6]) + b"ORTM12" + colour_model()
    assert model[4:8] == b"ORTM"
    refuse_unsafe(model)
    assert create_session(model, threads=1).get_inputs()[0].name == "pixels"


@given(st.binary(max_size=300))
@example(b"\x3a\x00" * 5)
@example(b"\x0b\x0c")
@example(b"\xff" * 40)
@example(b"\x3a" + b"\xff" * 9 + b"\x01")
def test_noise_is_refused_or_harmless(content: bytes) -> None:
    try:
        refuse_unsafe(content)
    except UnsafeModelError as error:
        assert str(error).endswith(".")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_model_is_refused(share: float) -> None:
    whole = colour_model()
    with pytest.raises(UnsafeModelError, match="not an ONNX model"):
        refuse_unsafe(whole[: int(len(whole) * share)])


def test_the_check_ends_soon_whatever_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_check, "_MOST_FIELDS", 1000)
    refuse_unsafe(colour_model())
    with pytest.raises(UnsafeModelError, match="too many parts"):
        refuse_unsafe(b"\x08\x01" * 1001 + colour_model())


def test_the_numbers_of_the_fields_are_those_of_onnx() -> None:
    messages = {
        "model": onnx.ModelProto,
        "graph": onnx.GraphProto,
        "node": onnx.NodeProto,
        "attribute": onnx.AttributeProto,
        "tensor": onnx.TensorProto,
    }
    fields = {
        **onnx_check._MESSAGES,
        **onnx_check._REFUSED,
        **dict.fromkeys((onnx_check._OPERATOR, onnx_check._DOMAIN, onnx_check._LOCATION)),
    }
    known = {
        (name, field.number): field.name
        for name, message in messages.items()
        for field in message.DESCRIPTOR.fields
        if field.message_type is not None
        # a message that holds only text and numbers cannot do harm
        and field.message_type.name not in {"StringStringEntryProto", "OperatorSetIdProto"}
    }
    harmless = {
        *("input", "output", "value_info", "quantization_annotation", "tp", "type_protos"),
        *("segment", "configuration", "device_configurations"),
    }
    assert {name for field, name in known.items() if field not in fields} <= harmless
    named = {
        field: messages[field[0]].DESCRIPTOR.fields_by_number[field[1]].name for field in fields
    }
    assert named["node", 4] == "op_type" and named["node", 7] == "domain"
    assert named["tensor", 14] == "data_location" and named["tensor", 13] == "external_data"
    assert named["model", 7] == "graph" and named["attribute", 6] == "g"
