"""One model, from its name to the agreement of its INT8 engine with its fake-quantized twin.

python -m benchmarks.reach.one_model NAME

Prints one JSON object. Weights cannot be had for every model, so it is trained for a few steps on
small images: enough for answers that differ by more than rounding does.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from benchmarks.evidence.plans import Plan
from benchmarks.evidence.sets import read
from benchmarks.quantizability.train import CPU, GRID, quantizable
from tmkd_deploy.engines.onnxruntime import OnnxRuntime
from tmkd_deploy.errors import RequestError, TmkdError
from tmkd_deploy.export.torch_to_onnx import to_onnx
from tmkd_deploy.models.classifier import Classifier, create, merge_branches
from tmkd_deploy.models.origins import origin_of
from tmkd_deploy.quantize.engine_arithmetic import use_engine_arithmetic
from tmkd_deploy.quantize.fold import fold_batch_norms
from tmkd_deploy.targets import catalog
from tmkd_deploy.training.predict import predict

TRAINING_IMAGES = 2000
CALIBRATION_IMAGES = 64
STATISTICS_IMAGES = 128
TEST_IMAGES = 200
# sides in pixels, the cheapest first; most transformers need to be told
TRIED: tuple[tuple[int, bool], ...] = (
    (64, False),
    (64, True),
    (96, False),
    (112, True),
    (224, False),
)
_OPSET = 20
BATCH = 16
STEPS = 60
_RATE = 1e-3
_PLAN = Plan(
    size=28,
    epochs=0,
    teacher_epochs=0,
    augment="none",
    teacher_outputs="live",
    train_images=TRAINING_IMAGES,
    teacher_images=1,
    test_images=TEST_IMAGES,
    learning_rate=1.0,
    weight_decay=0.0,
    batch_size=BATCH,
)


def result_of(name: str) -> dict[str, Any]:
    """What became of the model `name`; `status` is built, refused or failed."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    started = time.perf_counter()
    found: dict[str, Any] = {"model": name}
    try:
        found |= {"status": "built", **_agreement(name)}
    except TmkdError as error:
        found |= {"status": "refused", "says": error.problem}
    except Exception as error:  # what any of 300 models raises is the result
        found |= {"status": "failed", "says": f"{type(error).__name__}: {error}"[:500]}
    return {**found, "seconds": round(time.perf_counter() - started, 1)}


def _agreement(name: str) -> dict[str, Any]:
    classifier, side = _created(name)
    data = read("fashion-mnist", Path(), _PLAN)
    train, test = _enlarged(data.train.images, side), _enlarged(data.test.images, side)
    _train(classifier, train, data.train.labels)
    merge_branches(classifier)
    plain = predict(classifier, test, CPU).numpy()
    network = quantizable(classifier, train[:CALIBRATION_IMAGES])
    fold_batch_norms(network)
    use_engine_arithmetic(network, GRID)
    twin = predict(classifier.eval(), test, CPU).numpy()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        onnx.save(to_onnx(classifier, side, _OPSET), folder / "model.onnx")
        runtime = OnnxRuntime()
        built = runtime.build(folder / "model.onnx", "int8", side, catalog.get("cpu"), folder)
        session = runtime.open(folder / built.file, 1)
        logits = np.concatenate([session.infer(batch) for batch in _batches(test)])
    return {
        "pixels": side,
        "million_parameters": round(sum(p.numel() for p in classifier.parameters()) / 1e6, 2),
        "int8_layers": built.int8_layers,
        "layers": built.total_layers,
        "agreement": _share(logits, twin),
        "largest_difference": _difference(logits, twin),
        "agreement_with_float": _share(logits, plain),
        "top1": float((plain.argmax(1) == data.test.labels).mean()),
        "classes_predicted": len(set(twin.argmax(1).tolist())),
    }


def _created(name: str) -> tuple[Classifier, int]:
    """The model at the smallest side that it accepts, of those tried and its own."""
    refusal: RequestError | None = None
    own = origin_of(name)
    for side, told in (*TRIED, (_own_side(name), False)):
        try:
            keywords = {"img_size": side} if told and own.name == "timm" else {}
            return create(name, 10, keywords, side, scratch=True)[0], side
        except RequestError as error:
            refusal = error
    assert refusal is not None
    raise refusal


def _own_side(name: str) -> int:
    import timm  # noqa: PLC0415

    if ":" in name:
        return 299  # of torchvision's, only Inception needs more than 224
    return int(timm.get_pretrained_cfg(name, allow_unregistered=True).input_size[-1])


def _train(classifier: Classifier, images: np.ndarray, labels: np.ndarray) -> None:
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=STEPS)
    wanted = torch.from_numpy(labels)
    generator = torch.Generator().manual_seed(0)
    classifier.train()
    for _ in range(STEPS):
        rows = torch.randperm(len(images), generator=generator)[:BATCH]
        logits = classifier(_tensor(images[rows.numpy()]))[0]
        loss = nn.functional.cross_entropy(logits, wanted[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    _set_statistics(classifier, images)
    classifier.eval()


@torch.no_grad()
def _set_statistics(classifier: Classifier, images: np.ndarray) -> None:
    """Batch norms of some models follow so slowly that so short a training would not show."""
    for norm in classifier.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
    for batch in _batches(images[:STATISTICS_IMAGES]):
        classifier(_tensor(batch))


def _enlarged(images: np.ndarray, side: int) -> np.ndarray:
    rows = np.arange(side) * images.shape[1] // side
    return np.ascontiguousarray(images[:, rows][:, :, rows])


def _batches(images: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(images), BATCH):
        yield images[start : start + BATCH]


def _tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255.0


def _share(logits: np.ndarray, others: np.ndarray) -> float:
    return float((logits.argmax(1) == others.argmax(1)).mean())


def _difference(logits: np.ndarray, others: np.ndarray) -> float:
    """The largest difference, as a share of the spread of the twin's logits."""
    return float(np.abs(logits - others).max() / (others.std() + 1e-12))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    print(json.dumps(result_of(sys.argv[1])))
