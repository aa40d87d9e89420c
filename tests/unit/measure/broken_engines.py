"""Real engines whose outputs are no sound logits, and what `measure` needs to run them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from colour_bundle import COLOURS, SIDE, colour_model, solid
from data_records import data_record
from onnx import TensorProto, helper, numpy_helper

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.engines.engine_file import describe_engine
from tmkd_deploy.measure.bench import Bench, EngineUnderTest
from tmkd_deploy.measure.ledger import Entry
from tmkd_deploy.measure.measure import InTorch, measure
from tmkd_deploy.measure.threshold import Guard, decided
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.engine import EngineRecord
from tmkd_deploy.records.logits import Logits
from tmkd_deploy.records.measurements import Measurements

KEYS = [f"{colour}-{number}.png" for number in range(4) for colour in COLOURS]
IMAGES = np.stack([solid(colour) for _ in range(4) for colour in COLOURS])
LABELS = np.array([0, 1, 2] * 4)

# an operator after the sound logits: type, constant operand, attributes
Step = tuple[str, float | list[float] | None, dict[str, Any]]

BREAKS: dict[str, list[Step]] = {
    "nan": [("Neg", None, {}), ("Sqrt", None, {})],
    "inf": [("Div", 0.0, {})],
    "half": [("Mul", 1e6, {}), ("Cast", None, {"to": TensorProto.FLOAT16})],
    "integers": [("Cast", None, {"to": TensorProto.INT64})],
    "text": [("Cast", None, {"to": TensorProto.STRING})],
    # the square root of 100, 10 and 100 minus the logit; green's is above 10 for green images
    "green": [("Sub", [100, 10, 100], {}), ("Neg", None, {}), ("Sqrt", None, {})],
    "constant": [("Mul", 0.0, {})],
}
TYPES = {
    "half": TensorProto.FLOAT16,
    "integers": TensorProto.INT64,
    "text": TensorProto.STRING,
}


def engine(kind: str) -> bytes:
    """A classifier of colours that is sound, or broken in one of the ways of `BREAKS`.

    "classes" has one class too many.
    """
    if kind == "sound":
        return colour_model()
    if kind == "classes":
        return colour_model(np.ones((4, 3), np.float32))
    return followed_by(BREAKS[kind], TYPES.get(kind, TensorProto.FLOAT))


def followed_by(steps: list[Step], answers: int = TensorProto.FLOAT) -> bytes:
    """The sound classifier with operators after its logits; `answers` is the type of the last."""
    proto = onnx.load_from_string(colour_model())
    last = proto.graph.node[-1]
    last.output[0] = "sound"
    for at, (operator, operand, attributes) in enumerate(steps):
        inputs = ["sound" if at == 0 else f"step{at}"]
        if operand is not None:
            inputs.append(f"operand{at}")
            constant = numpy_helper.from_array(np.array(operand, np.float32), inputs[1])
            proto.graph.initializer.append(constant)
        output = "logits" if at == len(steps) - 1 else f"step{at + 1}"
        proto.graph.node.append(helper.make_node(operator, inputs, [output], **attributes))
    proto.graph.output[0].type.tensor_type.elem_type = answers
    return bytes(proto.SerializeToString())


def write(folder: Path, **kinds: str) -> dict[str, Path]:
    """A file for each engine, by its name."""
    files = {}
    for name, kind in kinds.items():
        files[name] = folder / f"{name}.onnx"
        files[name].write_bytes(engine(kind))
    return files


def under_test(files: dict[str, Path]) -> dict[str, EngineUnderTest]:
    return {
        name: EngineUnderTest(f"{name.upper()} student", "onnxruntime", file)
        for name, file in files.items()
    }


@dataclass
class Stand:
    """What is measured: colours, a recipe, and the sound ONNX file that engines were built from."""

    folder: Path
    recipe: Recipe
    data: PreparedData
    onnx: Path

    def measure(
        self, files: dict[str, Path], bench: Bench | None, events: Any, source: Path | None = None
    ) -> Measurements:
        sound = Logits([np.eye(3)[LABELS]], of="the student", images=KEYS, classes=3)
        guard = Guard.of(self.recipe.decision, self.data)
        _, decision = decided(lambda _: sound, "test", guard)
        precisions = [name for name in files if name in ("fp32", "fp16", "int8")]
        record = EngineRecord(
            target="cpu",
            runtime="onnxruntime",
            engines=[describe_engine(name, files[name]) for name in precisions],
            kit=[],
            notes=[],
        )
        entries = [
            Entry("teacher", "teacher", "fp32", "Teacher", sound),
            Entry("student", "student", "fp32", "Student", sound, "teacher"),
            Entry("fake_quantized", "fake_quantized", "int8", "Fake", sound, "student"),
        ]
        entries = [replace(entry, decision=decision) for entry in entries]
        onnx_files = dict.fromkeys(precisions, source or self.onnx)
        return measure(
            self.recipe,
            self.data,
            "test",
            InTorch(entries, 2, 1),
            record,
            onnx_files,
            bench,
            self.folder,
            events,
        )


def stand(folder: Path) -> Stand:
    recipe = Recipe.model_validate(
        {
            "name": "colours",
            "data": {"source": "folder", "path": "colours", "image_size": 32},
            "measure": {"threads": 1, "min_runs": 20, "min_seconds": 0.01, "warmup_seconds": 0.01},
            "targets": [{"target": "cpu"}],
        }
    )
    record = data_record(COLOURS, SIDE)
    data = PreparedData(
        record, {"test": IMAGES}, {"test": LABELS.astype(np.int64)}, {"test": list(KEYS)}
    )
    file = folder / "source.onnx"
    # ONNX files are read by the names that the exporter gives
    source = onnx.load_from_string(colour_model())
    source.graph.input[0].name = source.graph.node[0].input[0] = "images"
    onnx.save(source, file)
    return Stand(folder, recipe, data, file)
