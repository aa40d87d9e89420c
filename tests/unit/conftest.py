"""A small network trained on scikit-learn's digits and what is made of it, for all unit tests."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exporter import remember_operators
from made_once import made_once

SIDE = 32
CLASSES = 10
MODEL = "resnet10t"
ARGUMENTS = {"channels": [8, 16, 32, 32], "stem_width": 8}


@dataclass
class Digits:
    """The trained digits: what every stage from quantization on needs, all of it real."""

    data: Any
    recipe: Any
    teachers: Any
    folder: Path
    quantized: dict[Any, Any] = field(default_factory=dict)
    _classifier: Any = None

    def classifier(self) -> Any:
        """A copy of the trained classifier, because stages change the one they are given."""
        return copy.deepcopy(self._classifier)

    def student(self) -> Any:
        from tmkd_deploy.distill.distill import Student
        from tmkd_deploy.records.candidates import Candidate
        from tmkd_deploy.records.distillation import StudentRecord, ViewWeights

        record = StudentRecord(
            model=MODEL,
            parameters=1,
            feature_width=32,
            candidates={"distilled": Candidate(top1=1.0, nll=0.0)},
            ships="distilled",
            choice="",
            view_weights=ViewWeights(guided_by="nothing", mean={}, mean_by_class={}, histogram={}),
            view_captions=[],
        )
        return Student(self.classifier(), record, self.folder)

    def top1(self, logits: np.ndarray, split: str = "test") -> float:
        return float((np.asarray(logits).argmax(axis=1) == self.data.labels(split)).mean())


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    """Digits at 32 x 32 pixels and a small ResNet that has learnt them."""
    pytest.importorskip("timm")
    pytest.importorskip("sklearn")
    import torch
    import torch.nn.functional as F

    from tmkd_deploy.distill.train_teacher import Teachers
    from tmkd_deploy.events import SilentEvents
    from tmkd_deploy.models.classifier import create
    from tmkd_deploy.records.distillation import TeacherRecord
    from tmkd_deploy.training.batches import to_float
    from tmkd_deploy.training.fit import fit
    from tmkd_deploy.training.predict import predict
    from tmkd_deploy.training.schedule import Schedule

    remember_operators()
    data = _data()
    torch.manual_seed(0)
    classifier, width = create(MODEL, CLASSES, ARGUMENTS, SIDE, scratch=True)
    classifier.to(memory_format=torch.channels_last)
    images, labels = data.images("train"), torch.from_numpy(data.labels("train"))
    cpu = torch.device("cpu")

    def loss_of(step: Any) -> torch.Tensor:
        classifier.train()
        logits, _ = classifier(to_float(images, step.indices, cpu))
        return F.cross_entropy(logits, labels[step.indices])

    def train(folder: Path) -> None:
        schedule = Schedule(6, 64, 1e-2, 0.01, seed=0)
        fit(classifier.parameters(), len(images), schedule, loss_of, SilentEvents(), "Digits")
        torch.save(classifier.state_dict(), folder / "classifier.pt")

    trained = made_once("digits", tmp_path_factory, train)
    classifier.load_state_dict(torch.load(trained / "classifier.pt"))
    # a test on a network that guesses would pass whatever the stages do to it
    logits = predict(classifier, data.images("test"), cpu).numpy()
    assert (logits.argmax(axis=1) == data.labels("test")).mean() > 0.95
    record = TeacherRecord(
        visual_model=MODEL,
        visual_parameters=1,
        feature_width=width,
        top1_by_view={},
    )
    scores = {"train": torch.zeros(len(images), 3, CLASSES)}
    teachers = Teachers(copy.deepcopy(classifier), record, torch.randn(3, CLASSES, 16), scores)
    folder = tmp_path_factory.mktemp("digits")
    return Digits(data, _recipe(), teachers, folder, _classifier=classifier.eval())


@pytest.fixture(scope="session")
def quantized_digits(
    digits: Digits, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Any], Any]:
    """The digits' network quantized for a placement, as the stage reads it back."""
    from tmkd_deploy import artifacts
    from tmkd_deploy.events import SilentEvents
    from tmkd_deploy.quantize.quantize import quantize, read_quantized
    from tmkd_deploy.records.quantization import QuantizationRecord

    def read(quant_scheme: Any) -> Any:
        def make(folder: Path) -> None:
            target = folder / "quantize"
            with artifacts.writing(target, kind="quantize", fingerprint="", inputs={}) as draft:
                draft.record = quantize(
                    digits.recipe,
                    digits.data,
                    digits.teachers,
                    digits.student(),
                    quant_scheme,
                    draft.folder,
                    SilentEvents(),
                )

        if quant_scheme not in digits.quantized:
            folder = made_once(f"quantized-{quant_scheme.value}", tmp_path_factory, make)
            digits.quantized[quant_scheme] = artifacts.read(
                folder / "quantize", "quantize", QuantizationRecord
            )
        artifact = digits.quantized[quant_scheme]
        return read_quantized(artifact, digits.recipe, digits.data), artifact.record

    return read


@pytest.fixture(scope="session")
def exported_digits(
    digits: Digits,
    quantized_digits: Callable[[Any], Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Any], tuple[Path, Any]]:
    """The ONNX file of a variant of the digits' network and what the export stage says of it."""
    from tmkd_deploy.events import SilentEvents
    from tmkd_deploy.export.export import export
    from tmkd_deploy.records.onnx_model import MODEL as FILE
    from tmkd_deploy.records.onnx_model import OnnxRecord

    def model_of(variant: Any) -> tuple[Path, Any]:
        def make(folder: Path) -> None:
            placed = variant.quant_scheme
            net = quantized_digits(placed)[0] if placed else digits.classifier()
            record = export(digits.recipe, digits.data, net, variant, folder, SilentEvents())
            (folder / "record.json").write_text(record.model_dump_json(), encoding="utf-8")

        folder = made_once(f"exported-{variant.name}", tmp_path_factory, make)
        return folder / FILE, OnnxRecord.model_validate_json((folder / "record.json").read_bytes())

    return model_of


def _recipe() -> Any:
    from tmkd_deploy.recipe.schema import Recipe

    return Recipe.model_validate(
        {
            "name": "digits",
            "data": {"source": "folder", "path": "digits", "image_size": SIDE},
            "student": {"model": MODEL, "model_kwargs": ARGUMENTS},
            "quantize": {"epochs": 0, "calibration": {"images": 128}},
            "export": {"opset": 20, "parity_images": 64},
            "targets": [{"target": "cpu"}],
        }
    )


def _data() -> Any:
    from data_records import data_record
    from PIL import Image
    from sklearn.datasets import load_digits

    from tmkd_deploy.data.prepared import PreparedData

    raw = load_digits()
    grey = (raw.images * 255 / 16).round().astype(np.uint8)
    large = np.stack([np.asarray(Image.fromarray(one).resize((SIDE, SIDE))) for one in grey])
    images = np.repeat(large[..., None], 3, axis=-1)
    order = np.random.default_rng(0).permutation(len(images))
    split = {"train": order[:1197], "val": order[1197:1297], "test": order[1297:]}
    names = [str(number) for number in range(CLASSES)]
    record = data_record(names, SIDE)
    return PreparedData(
        record,
        {name: images[rows] for name, rows in split.items()},
        {name: raw.target[rows].astype(np.int64) for name, rows in split.items()},
        {name: [f"digit {row}" for row in rows] for name, rows in split.items()},
    )
