"""Students by method: what the teachers' outputs are made of, and that `tmkd` is the article's."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill.decide_fusion import stated_fusion
from tmkd_deploy.distill.distill import Student, distill, new_student
from tmkd_deploy.distill.fusion import fuse, semantic_weights
from tmkd_deploy.distill.losses.total import StudentLoss, TeacherOutputs
from tmkd_deploy.distill.student import train_student
from tmkd_deploy.distill.views import make_views
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.records.fusion import Fusion
from tmkd_deploy.records.types import VIEWS
from tmkd_deploy.training.batches import Batch, TrainingImages
from tmkd_deploy.training.best_epoch import Validation
from tmkd_deploy.training.schedule import Schedule

CLASSES, COUNTS = 10, {"train": 96, "val": 100}
CPU = torch.device("cpu")


@pytest.fixture
def few(digits):
    """96 training and 100 validation images of the digits."""
    data = digits.data
    return PreparedData(
        data.record,
        {split: data.images(split)[:count] for split, count in COUNTS.items()},
        {split: data.labels(split)[:count] for split, count in COUNTS.items()},
        {split: data.keys(split)[:count] for split, count in COUNTS.items()},
    )


@pytest.fixture
def teachers(digits):
    """The digits' teacher with a text teacher whose scores are random."""
    random = torch.Generator().manual_seed(2)
    scores = {
        split: 0.2 * torch.rand(count, 3, CLASSES, generator=random)
        for split, count in COUNTS.items()
    }
    visual = digits.classifier()
    return dataclasses.replace(digits.teachers, visual=visual, scores=scores, logit_scale=10.0)


def recipe_with(digits, **distill):
    given = digits.recipe.model_dump(mode="json", exclude={"distill"})
    short = {"epochs": 2, "batch_size": 32, "cached_augmentations": 1, "baseline": False}
    return type(digits.recipe).model_validate({**given, "distill": {**short, **distill}})


def test_tmkd_is_the_articles_form_bit_for_bit(digits, few, teachers, tmp_path) -> None:
    """Trained again with nothing but the formulae: all views, weighted by text, every term on."""
    recipe = recipe_with(digits, method="tmkd", teacher_outputs="live")
    record = distill(recipe, few, teachers, tmp_path, SilentEvents())
    assert record.fusion == Fusion(guided_by="label")

    images = TrainingImages(few.images("train"), torch.from_numpy(few.labels("train")), "flip", 1)
    weights = semantic_weights(teachers.scores["train"], images.labels, 0.05)

    class Article:
        def for_batch(self, batch: Batch) -> TeacherOutputs:
            with torch.no_grad():
                views = make_views(batch.images, recipe.views, list(VIEWS))
                stacked = views.flatten(0, 1).contiguous(memory_format=torch.channels_last)
                outputs = [part.unflatten(0, views.shape[:2]) for part in teachers.visual(stacked)]
            return TeacherOutputs(*(fuse(part, weights[batch.indices]) for part in outputs))

    class Constants:
        ce_weight, alpha, beta, gamma = 1.0, 1.0, 1.0, 0.1
        logit_loss, dkd_beta, temperature = "kd", 8.0, 4.0
        contrastive_temperature, teacher_warmup_epochs = 0.07, 0

    torch.manual_seed(recipe.seed)
    student, width = new_student(recipe, few)
    student.to(memory_format=torch.channels_last)
    texts = torch.nn.functional.normalize(teachers.texts.mean(dim=0), dim=-1)
    train_student(
        student,
        StudentLoss(Constants(), width, teachers.record.feature_width, texts),
        images,
        Article(),
        Schedule(2, 32, 2e-3, 0.02, seed=recipe.seed),
        CPU,
        SilentEvents(),
        "Distilling the student",
        validation=Validation(student, few.images("val"), few.labels("val"), recipe.distill),
    )
    found = load_file(tmp_path / "distilled.safetensors")
    for name, tensor in student.state_dict().items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("method", ["kd", "dkd", "dist"])
def test_plain_distillation_uses_the_teachers_rgb_logits(
    digits, few, teachers, tmp_path, method
) -> None:
    recipe = recipe_with(digits, method=method, epochs=1)
    record = distill(recipe, few, teachers, tmp_path, SilentEvents())
    assert record.fusion == Fusion()
    assert record.view_weights.mean == {"rgb": 1.0}
    fused = teachers.fused(recipe, record.fusion, few, CPU)
    images = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        expected, _ = teachers.visual(images.to(memory_format=torch.channels_last))
    found = fused.outputs(images, fused.weights[:4])
    assert torch.allclose(found.logits, expected, atol=1e-5)


@pytest.mark.parametrize("outputs", ["cached", "live"])
def test_the_student_learns_from_the_fusion_that_was_decided(
    digits, few, teachers, tmp_path, outputs
) -> None:
    """The text teacher knows every label; the visual teacher is sure of itself and often wrong."""
    one_hot = torch.nn.functional.one_hot
    known = {
        split: one_hot(torch.from_numpy(few.labels(split)), CLASSES) for split in ("train", "val")
    }
    scores = {split: each[:, None].repeat(1, 3, 1).float() for split, each in known.items()}
    teachers = dataclasses.replace(teachers, scores=scores)
    with torch.no_grad():
        last = teachers.visual.network.backbone.fc.weight
        noise = torch.randn(last.shape, generator=torch.Generator().manual_seed(0))
        last.add_(4 * last.std() * noise).mul_(20)
    recipe = recipe_with(digits, epochs=1, teacher_outputs=outputs, augment="none")
    record = distill(recipe, few, teachers, tmp_path, SilentEvents())
    fusion = record.fusion
    assert fusion.softness < 0.5 and fusion.text_share > 0
    learnt = Student(digits.classifier(), record, tmp_path)
    source = learnt.teacher_outputs(recipe, few, teachers)
    rows = torch.arange(8)
    images = torch.from_numpy(few.images("train")[:8]).permute(0, 3, 1, 2) / 255
    batch = Batch(images, torch.from_numpy(few.labels("train")[:8]), rows, torch.zeros_like(rows))
    weights = teachers.view_weights(recipe, fusion, "train", few.labels("train"))[:8]
    plain = teachers.fused(recipe, stated_fusion(recipe.distill), few, CPU).outputs(images, weights)
    text = fusion.text_share * 10.0 * known["train"][:8]
    expected = fusion.softness * plain.logits + text
    assert torch.allclose(source.for_batch(batch).logits, expected, rtol=1e-4, atol=1e-3)
