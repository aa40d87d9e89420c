"""The GPU schedule of CIFAR-100, at toy size on the CPU; only the CUDA graph itself cannot run."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.cifar_gpu import plan
from benchmarks.cifar_gpu.__main__ import run
from benchmarks.cifar_gpu.crops import CROPS, crops, padded
from benchmarks.cifar_gpu.page import page
from benchmarks.cifar_gpu.plan import BATCH, ROWS
from benchmarks.cifar_gpu.signals import Images, Signals, Teachers, outputs
from benchmarks.cifar_gpu.student import Student
from tmkd_deploy.distill.fusion import uniform_weights
from tmkd_deploy.models.classifier import Classifier, create
from tmkd_deploy.training.augment import random_crop
from tmkd_deploy.training.batches import to_float

CLASSES, COUNT, FEW = 4, BATCH + 8, 2
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images() -> Images:
    """A full batch and a smaller one, of four colours."""
    random = np.random.default_rng(0)
    labels = np.arange(COUNT) % CLASSES
    pixels = random.integers(0, 60, (COUNT, 32, 32, 3), dtype=np.uint8)
    return Images(torch.from_numpy(pixels + 60 * labels.astype(np.uint8)[:, None, None, None]),
                  torch.from_numpy(labels))  # fmt: skip


def untrained_teacher(images: Images) -> Classifier:
    """With random weights, but with norms that know the images, so that its outputs are sane."""
    torch.manual_seed(0)
    network, _ = create(plan.TEACHER, CLASSES, {}, 32, scratch=False)
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = 1.0
    with torch.no_grad():
        network.train()(to_float(images.pixels, torch.arange(16), CPU))
    return network.eval()


@pytest.fixture(scope="module")
def teachers(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Teachers:
    folder = tmp_path_factory.mktemp("teachers")
    network = untrained_teacher(images)
    save_file(network.network.backbone.state_dict(), folder / "published.safetensors")
    texts = torch.nn.functional.normalize(torch.randn(3, CLASSES, 8), dim=-1)
    few = Images(images.pixels[:16], images.labels[:16])
    return Teachers(few, folder / "published.safetensors", texts, folder / "work", epochs=1)


def test_every_crop_is_one_of_the_numbered_ones(images: Images) -> None:
    every = torch.arange(20)
    drawn = torch.Generator().manual_seed(3)
    cropped = random_crop(to_float(images.pixels[:20], every, CPU), drawn)
    drawn.manual_seed(3)
    rows, columns = (torch.randint(9, (20, 1, 1), generator=drawn).flatten() for _ in range(2))
    mirrored = torch.rand((20, 1, 1), generator=drawn).flatten() < 0.5
    numbers = (rows * 9 + columns) * 2 + mirrored
    assert int(numbers.max()) < CROPS
    assert torch.equal(crops(padded(images.pixels), every, numbers), cropped)


def test_the_signals_are_what_the_teacher_says_of_each_crop(images: Images) -> None:
    network = untrained_teacher(images)
    made = outputs(network, images, ["rgb"], uniform_weights(COUNT, 1), FEW)
    assert made.logits.shape == (FEW, COUNT, CLASSES)
    with torch.inference_mode():
        logits, features = network(
            crops(padded(images.pixels), torch.tensor([5, 7]), torch.tensor([1, 0]))
        )
    found = made.of(torch.tensor([5, 7]), torch.tensor([1, 0]))
    assert torch.allclose(found.logits, logits, rtol=1e-3, atol=2e-3)
    assert torch.allclose(found.features, features, rtol=1e-2, atol=1e-2)


def test_each_kind_of_output_is_another(teachers: Teachers) -> None:
    kinds = ("published", "tuned", "views", "weighted views")
    made = [teachers.signals(kind, 1).logits for kind in kinds]
    for first, second in itertools.combinations(made, 2):
        assert torch.isfinite(first).all() and not torch.equal(first, second)


@pytest.mark.parametrize("name", ["dkd", "article"])
def test_a_student_goes_on_where_it_stopped(images: Images, tmp_path: Path, name: str) -> None:
    random = torch.Generator().manual_seed(0)
    signals = Signals(*(torch.randn(FEW, COUNT, size, generator=random) for size in (CLASSES, 64)))

    def new() -> Student:
        return Student(ROWS[name], 0, images, signals, torch.ones(CLASSES, 8), FEW, 2)

    whole, halved, other = new(), new(), new()
    run([whole], until=math.inf)
    assert whole.done == whole.steps == 4, "a full batch and a smaller one in each epoch"
    for _ in range(3):
        halved.step()
    halved.save(tmp_path / name)
    other.load(tmp_path / name)
    run([other], until=math.inf)
    first, second = (each.network.state_dict() for each in (whole, other))
    assert all(torch.equal(first[key], second[key]) for key in first)


class NoHostReads(TorchDispatchMode):
    """Refuses what makes a host wait for a GPU: reading a value, or a shape that depends on one."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().partition(".")[0]
        reads = name in {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select"}
        masks = name.startswith("aten::index") and any(
            torch.is_tensor(each) and each.dtype == torch.bool for each in args[1]
        )
        if reads or masks:
            raise AssertionError(f"{func.name()} reads a value")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ROWS)
def test_no_step_needs_a_value_from_the_gpu(images: Images, name: str) -> None:
    """What reads one cannot be captured in a CUDA graph."""
    nothing = Signals(torch.zeros(FEW, COUNT, CLASSES), torch.zeros(FEW, COUNT, 64))
    signals = nothing if ROWS[name].outputs else None
    student = Student(ROWS[name], 0, images, signals, torch.ones(CLASSES, 8), FEW, 2)
    student.step()
    with NoHostReads():
        student._update(*student._batch, 0.05, 0)
        with pytest.raises(AssertionError, match="reads a value"):
            _ = images.labels[images.labels > 1]


def record(**top1: list[float]) -> dict[str, object]:
    students = [
        {"row": name.replace("_", "-"), "seed": seed, "steps": 10, "of": 10, "top1": value / 100}
        for name, values in top1.items()
        for seed, value in enumerate(values)
    ]
    return {"gpu": "a GPU", "commit": "0", "machine": {}, "students": students}


def test_nothing_is_compared_unless_kd_and_dkd_are_as_published() -> None:
    good = record(kd=[70.5, 70.7], dkd=[72.0, 71.9], views=[71.5, 71.8])
    text = page(good)
    assert "| Even views | 2 | 71.65 ± 0.21 | +1.05 |" in text and "Nothing" not in text
    short = page(record(kd=[69.9, 70.0], dkd=[72.0, 71.9], views=[71.5, 71.8]))
    assert "Nothing is compared: KD 70.66 ± 0.4 has not been reached." in short
    assert "+1" not in short
    good["students"][0]["steps"] = 9  # type: ignore[index]
    assert "1 students have not finished." in page(good)


def test_the_published_constants() -> None:
    assert dataclasses.asdict(ROWS["kd"]) | {"alpha": 0.9, "ce_weight": 0.1, "beta": 0.0} == (
        dataclasses.asdict(ROWS["kd"])
    )
    assert (plan.EPOCHS, plan.BATCH, plan.RATE, plan.DECAY) == (240, 64, 0.05, 5e-4)
