"""The filters against those of scipy and kornia, and their own properties."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tmkd_deploy.distill.filters import canny, gaussian_blur, sobel_gradient

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.sampled_from([(16, 16), (9, 21), (33, 20)])
FEW = settings(deadline=None, max_examples=60)


def shapes_and_noise(seed, height, width):
    """A grey image with steps, ramps and noise, like a photograph."""
    random = np.random.default_rng(seed)
    grey = np.linspace(0, random.random(), width) * np.ones((height, 1))
    for _ in range(3):
        top, left = random.integers(0, height), random.integers(0, width)
        grey[top : top + height // 2, left : left + width // 2] = random.random()
    grey = grey + 0.1 * random.random() * random.standard_normal((height, width))
    return torch.from_numpy(grey.clip(0, 1).astype(np.float32)).view(1, 1, height, width)


@FEW
@given(SEEDS, SIZES, st.floats(0.4, 4.0), st.integers(1, 8))
def test_the_blur_agrees_with_scipy(seed, size, sigma, radius):
    images = torch.cat([shapes_and_noise(seed + add, *size) for add in range(3)], dim=1)
    expected = images.numpy().astype(np.float64)
    for axis in (-1, -2):
        expected = ndimage.gaussian_filter1d(
            expected, sigma, axis, mode="mirror", truncate=radius / sigma
        )
    found = gaussian_blur(images, sigma, radius)
    assert np.allclose(found.numpy(), expected, atol=1e-6)


@FEW
@given(SEEDS, SIZES)
def test_the_gradient_agrees_with_scipy(seed, size):
    grey = shapes_and_noise(seed, *size)
    plane = grey[0, 0].numpy().astype(np.float64)
    expected = np.stack([ndimage.sobel(plane, axis, mode="nearest") / 8 for axis in (-1, -2)])
    assert np.allclose(sobel_gradient(grey)[0].numpy(), expected, atol=1e-6)


@FEW
@given(SEEDS, SIZES, st.floats(0.4, 4.0), st.integers(1, 8))
def test_blur_and_gradient_agree_with_kornia(seed, size, sigma, radius):
    filters = pytest.importorskip("kornia.filters")
    grey = shapes_and_noise(seed, *size)
    blurred = filters.gaussian_blur2d(grey, 2 * radius + 1, (sigma, sigma), "reflect")
    assert torch.allclose(gaussian_blur(grey, sigma, radius), blurred, atol=1e-6)
    gradient = filters.spatial_gradient(grey)[:, 0]
    assert torch.allclose(sobel_gradient(grey), gradient, atol=1e-6)


@FEW
@given(SEEDS, SIZES)
def test_canny_agrees_with_kornia(seed, size):
    # before kornia 0.9 neither of two equal neighbours was an edge
    filters = pytest.importorskip("kornia", minversion="0.9").filters
    grey = shapes_and_noise(seed, *size)
    _, expected = filters.canny(grey)
    assert torch.equal(canny(grey), expected)


def step(height_of_step):
    """A dark left half, and a right half that is lighter by the given amount in each row."""
    grey = torch.zeros(1, 1, 16, 16)
    grey[..., 8:] = torch.as_tensor(height_of_step).expand(16)[:, None]
    return grey


def test_canny_draws_a_step_one_pixel_wide():
    for found in (canny(step(0.5)), canny(step(0.5).mT).mT):
        # rounding decides between the last dark column and the first light one
        assert found.sum() == 16
        assert found[..., 7:9].sum() == 16


def test_canny_keeps_a_weak_edge_only_where_it_meets_a_strong_one():
    assert canny(step(0.05)).sum() == 0
    fading = canny(step(torch.linspace(0.2, 0.05, 16)))
    assert fading[..., 7:9].sum(dim=-1).eq(1).all()


def test_each_image_is_filtered_by_itself():
    images = torch.cat([shapes_and_noise(seed, 16, 24) for seed in range(4)])
    for name, apply in (("canny", canny), ("sobel", sobel_gradient)):
        one_by_one = torch.cat([apply(image[None]) for image in images])
        assert torch.equal(apply(images), one_by_one), name
