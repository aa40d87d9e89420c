"""Engines of one target that two runtimes run: each has a name and figures of its own."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from report_fixture import cpu_measurements

from tmkd_deploy.records.engine_names import engine_title
from tmkd_deploy.records.measurements import Measurements, Unusable


def raced() -> Measurements:
    """The fixture's target, with an INT8 engine of OpenVINO beside its own engines."""
    own = cpu_measurements()
    row, file = own.engine_accuracy("int8"), own.engine_file("int8")
    assert row and file
    other = {"runtime": "openvino"}
    return Measurements.model_validate(
        {
            **own.model_dump(),
            "ledger": [*own.ledger, row.model_copy(update={**other, "macro_recall": 0.5})],
            "engines": [*own.engines, file.model_copy(update={**other, "bytes": 77})],
            "confusion_by_engine": {
                **own.confusion_by_engine,
                "int8-openvino": own.confusion_by_engine["int8"],
            },
        }
    )


def test_each_engine_is_found_by_its_name() -> None:
    measured = raced()
    for name, recall, size in (("int8", None, None), ("int8-openvino", 0.5, 77)):
        row, file = measured.engine_accuracy(name), measured.engine_file(name)
        assert row and file and row.engine == file.name == name
        assert (row.macro_recall == 0.5, file.bytes == 77) == (recall == 0.5, size == 77)
    assert measured.engine_accuracy("fp32-openvino") is None
    assert not measured.ran("fp32-openvino") and measured.engine_confusion("fp32-openvino") == []


def test_a_record_of_an_earlier_version_names_engines_after_their_precision() -> None:
    plain = cpu_measurements().model_dump(mode="json")
    for each in (*plain["engines"], *plain["ledger"]):
        assert each.pop("runtime") is None
    measured = Measurements.model_validate(plain)
    assert [engine.name for engine in measured.engines] == [
        engine.precision for engine in measured.engines
    ]
    assert measured.engine_accuracy("int8")


def test_a_file_keeps_its_row_as_long_as_one_of_its_engines_is_sound() -> None:
    own = cpu_measurements()
    others = [row for row in raced().ledger if row.engine != "int8"]
    plain = {**raced().model_dump(), "ledger": others, "latency": None}
    plain["confusion_by_engine"].pop("int8")
    broken = {"int8": Unusable(reason="Its logits are not finite.")}
    assert Measurements.model_validate({**plain, "unusable": broken}).ledger_row("onnx", "int8")
    with pytest.raises(ValidationError, match="without a usable engine"):
        Measurements.model_validate(
            {
                **plain,
                "engines": own.engines,
                "ledger": [row for row in others if not row.engine],
                "confusion_by_engine": {},
                "unusable": broken,
            }
        )


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("int8", "INT8"),
        ("int8-openvino", "INT8 OpenVINO"),
        ("fp32-onnxruntime", "FP32 ONNX Runtime"),
        ("int8-unheard_of", "INT8 unheard_of"),
    ],
)
def test_titles(name: str, shown: str) -> None:
    assert engine_title(name) == shown
