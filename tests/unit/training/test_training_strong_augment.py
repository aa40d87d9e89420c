"""Augmentations with continuous random values."""

from typing import get_args

import numpy as np
import pytest
import torch

from tmkd_deploy.records.types import Augmentation
from tmkd_deploy.training.batches import TrainingImages
from tmkd_deploy.training.strong_augment import _OPERATIONS, augment_strongly

KINDS = get_args(Augmentation)
CPU = torch.device("cpu")


def photographs(count=24, height=20, width=28):
    """Smooth images that differ everywhere, so that no change goes unseen."""
    random = torch.Generator().manual_seed(1)
    small = torch.rand((count, 3, 4, 4), generator=random)
    return torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)


def augmented(images, *kinds, seed=3, **rows):
    return augment_strongly(images, kinds, torch.Generator().manual_seed(seed), **rows)


@pytest.mark.parametrize("kind", KINDS)
def test_images_stay_images_and_each_gets_its_own_change(kind):
    images = photographs()
    found = augmented(images, kind)
    assert found.shape == images.shape and found.dtype == images.dtype
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    same = augmented(images[:1].expand_as(images), kind)
    assert len(torch.unique(same.flatten(1), dim=0)) > 3, "one image, in several forms"


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_decides_and_the_global_one_is_not_touched(kind):
    images = photographs()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = augmented(images, kind)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert torch.equal(augmented(images, kind), first)
    assert not torch.equal(augmented(images, kind, seed=4), first)


@pytest.mark.parametrize("kinds", [*((kind,) for kind in KINDS), KINDS])
def test_a_process_makes_its_rows_as_they_are_in_the_whole_batch(kinds):
    images = photographs()
    whole = augmented(images, *kinds)
    for rows in (slice(0, 7), slice(7, 24)):
        part = augmented(images[rows], *kinds, total=24, rows=rows)
        assert torch.allclose(part, whole[rows], atol=1e-6)


def test_the_order_in_the_recipe_does_not_matter():
    images = photographs()
    assert torch.equal(augmented(images, *KINDS), augmented(images, *reversed(KINDS)))


def test_a_crop_is_a_part_of_the_image():
    """Of an image that holds its own coordinates: one window, of a quarter of the area or more."""
    size = 40
    lines, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    image = torch.stack([columns, lines, torch.zeros(size, size)]) / (size - 1)
    found = augmented(image.expand(50, -1, -1, -1), "random_resized_crop")
    spans = found.amax(dim=(2, 3)) - found.amin(dim=(2, 3))
    areas = spans[:, 0] * spans[:, 1]
    assert float(areas.min()) > 0.18 and float(areas.max()) <= 1.0
    assert float(areas.max() - areas.min()) > 0.3
    assert (found[:, 0].diff(dim=2) > -1e-6).all(), "left stays left"
    ratios = spans[:, 0] / spans[:, 1]
    assert 0.7 < float(ratios.min()) < 0.95 and 1.05 < float(ratios.max()) < 1.4


def test_erasing_covers_a_rectangle_of_some_images():
    found = augmented(torch.ones(400, 3, 32, 32), "random_erasing")
    covered = (found[:, 0] == 0.5).float()
    hit = covered.amax(dim=(1, 2)) > 0
    assert 60 <= int(hit.sum()) <= 140, "a quarter of them"
    for mask in covered[hit]:
        lines, columns = (mask.amax(dim=axis) for axis in (1, 0))
        assert torch.equal(mask, lines[:, None] * columns[None]), "a rectangle"


@pytest.mark.parametrize("strength", [-1.0, -0.3, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("number", range(len(_OPERATIONS)))
def test_every_operation_at_every_strength_gives_an_image(number, strength):
    image = photographs(1)[0]
    found = _OPERATIONS[number](image, strength)
    assert found.shape == image.shape and torch.isfinite(found).all()
    assert float(found.min()) >= 0 and float(found.max()) <= 1


def test_batches_are_the_same_in_whole_and_in_rows():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    data = TrainingImages(images, torch.arange(12) % 3, "flip", 2, KINDS)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(2))

    def batch(rows=slice(None)):
        return data.batch(order, torch.Generator().manual_seed(9), CPU, rows)

    whole, part = batch(), batch(slice(4, 9))
    assert torch.allclose(whole.images[4:9], part.images, atol=1e-6)
    plain = TrainingImages(images, torch.arange(12) % 3, "flip", 2)
    assert torch.equal(
        plain.batch(order, torch.Generator().manual_seed(9), CPU).augmentations,
        whole.augmentations,
    ), "the numbered augmentations stay those of a recipe without others"
