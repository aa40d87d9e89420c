"""An FP16 engine without finite logits, explained through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from data_records import data_record
from onnx import TensorProto, helper, numpy_helper

from tmkd_deploy import artifacts
from tmkd_deploy.cli.main import main
from tmkd_deploy.data.prepared import INDEX, SPLITS, images_name, labels_name
from tmkd_deploy.errors import ExitCode
from tmkd_deploy.export.fp16 import to_fp16
from tmkd_deploy.records.engine import EngineRecord
from tmkd_deploy.records.measurements import EngineFile, Measurements, Unusable
from tmkd_deploy.records.onnx_model import MODEL, OnnxRecord

SIDE = 8
TARGET = "jetson-orin-nano"
BRIGHT = 20  # the only image on which a layer overflows, beyond those that are looked at anyway


def graph() -> onnx.ModelProto:
    """One layer that exceeds FP16 on bright images, and one that makes its output small again."""
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["pixels"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["pixels", "classifier.network.one.weight"], ["a"], "first"),
        helper.make_node("Conv", ["a", "classifier.network.two.weight"], ["b"], "second"),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["logits"]),
    ]
    weights = {
        "one": np.full((4, 3, 1, 1), 150, np.float32),
        "two": np.full((2, 4, 1, 1), 1e-3, np.float32),
    }
    inside = helper.make_graph(
        nodes,
        "two layers",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [
            numpy_helper.from_array(weight, f"classifier.network.{name}.weight")
            for name, weight in weights.items()
        ],
    )
    return helper.make_model(inside, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run whose FP16 engine a device built and found not finite on the bright image."""

    def writing(name: str):  # type: ignore[no-untyped-def]
        kind = name.split("/", maxsplit=1)[0]
        return artifacts.writing(tmp_path / name, kind=kind, fingerprint="", inputs={})

    images = np.ones((BRIGHT + 1, SIDE, SIDE, 3), np.uint8)
    images[BRIGHT] = 200
    keys = [f"{number}.png" for number in range(len(images))]
    with writing("prepare") as draft:
        for split in SPLITS:
            np.save(draft.folder / images_name(split), images)
            np.save(draft.folder / labels_name(split), np.zeros(len(images), np.int64))
        index = {split: {"keys": keys} for split in SPLITS}
        (draft.folder / INDEX).write_text(json.dumps(index))
        draft.record = data_record(["a", "b"], SIDE)
    with writing("export/student-fp16") as draft:
        onnx.save(to_fp16(graph()), draft.folder / MODEL)
        draft.record = OnnxRecord(
            variant="student-fp16",
            opset=20,
            bytes=1,
            largest_difference=None,
            agreement=1.0,
            parity_images=1,
            quantize_linear=0,
            dequantize_linear=0,
            int8_weights=0,
        )
    engine = EngineFile(
        precision="fp16",
        file="fp16.engine",
        bytes=4,
        sha256="0" * 64,
        int8_layers=None,
        total_layers=None,
    )
    with writing(f"build/{TARGET}") as draft:
        (draft.folder / engine.file).write_bytes(b"plan")
        draft.record = EngineRecord(
            target=TARGET, runtime="tensorrt", engines=[engine], kit=[], notes=[], device="A Jetson"
        )
    with writing(f"measure/{TARGET}") as draft:
        draft.record = Measurements(
            target=TARGET,
            runtime="tensorrt",
            class_names=["a", "b"],
            test_images=len(images),
            engines=[engine],
            ledger=[],
            confusion_by_engine={},
            latency=None,
            unusable={"fp16": Unusable(reason="Not finite for 1 image.", first_image=BRIGHT)},
            teacher_parameters=2,
            student_parameters=1,
        )
    return tmp_path


def test_the_layer_is_named_for_the_image_that_broke_the_engine(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(run_folder), "--precision", "fp16", "--json"]) == ExitCode.OK
    (only,) = json.loads(capsys.readouterr().out)["explanations"]
    found = {each["kind"]: each for each in only["accuracy"]}
    assert found["unusable"]["problem"] == "Not finite for 1 image."
    assert found["fp16_overflow"]["layer"] == "one"
    assert "The output of one exceeds 65,504" in found["fp16_overflow"]["problem"]
