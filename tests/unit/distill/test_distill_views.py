"""Properties of the views, for any image and any settings."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tmkd_deploy.distill.views import edge, high_frequency, make_views, one_view_each
from tmkd_deploy.recipe.schema import Views
from tmkd_deploy.records.types import VIEWS

SETTINGS = st.builds(
    Views,
    edge=st.sampled_from(["sobel", "canny"]),
    edge_strength=st.floats(0.05, 4.0),
    freq=st.sampled_from(["fft", "gaussian"]),
    freq_cutoff=st.floats(0.05, 0.9),
    freq_base=st.sampled_from(["grey", "image"]),
)
SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(deadline=None, max_examples=40)


def random_images(seed, count=2, height=16, width=16):
    """Smooth and noisy images, some of them saturated."""
    random = np.random.default_rng(seed)
    noise = random.random((count, 3, height, width))
    ramp = np.linspace(0, 1, width) * random.random((count, 3, height, 1))
    mixed = np.clip(1.4 * (noise * random.random() + ramp) - 0.2, 0, 1)
    return torch.from_numpy(mixed.astype(np.float32))


@FEW
@given(SEEDS, SETTINGS, st.integers(1, 3), st.sampled_from([(16, 16), (17, 24), (33, 20)]))
def test_views_keep_shape_type_and_range(seed, settings, count, size):
    images = random_images(seed, count, *size)
    views = make_views(images, settings, list(VIEWS))
    assert views.shape == (3, count, 3, *size)
    assert views.dtype == torch.float32
    assert views.min() >= 0 and views.max() <= 1
    assert torch.equal(views[0], images)


@FEW
@given(
    SEEDS,
    SETTINGS.filter(lambda settings: settings.edge == "sobel"),
    st.sampled_from([15, 16]),
)
def test_a_mirrored_image_has_mirrored_views(seed, settings, width):
    images = random_images(seed, width=width)
    views = list(VIEWS)
    mirrored = make_views(images.flip(-1), settings, views)
    assert torch.allclose(mirrored, make_views(images, settings, views).flip(-1), atol=2e-4)


@FEW
@given(st.tuples(*[st.floats(0, 1, width=32)] * 3), SETTINGS)
def test_a_flat_image_has_neither_edges_nor_texture(colour, settings):
    image = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 16, 16).clone()
    rgb, edged, texture = make_views(image, settings, list(VIEWS))
    assert torch.equal(rgb, image)
    assert torch.equal(edged, image)
    ground = image if settings.freq_base == "image" else torch.full_like(image, 0.5)
    assert torch.allclose(texture, ground, atol=1e-5)


@FEW
@given(SEEDS, SETTINGS, st.lists(st.integers(0, 2), min_size=1, max_size=5))
def test_one_view_each_picks_from_all_views(seed, settings, shown):
    images = random_images(seed, len(shown))
    everything = make_views(images, settings, list(VIEWS))
    picked = everything[torch.tensor(shown), torch.arange(len(shown))]
    found = one_view_each(images, settings, torch.tensor(shown))
    assert torch.allclose(found, picked, atol=1e-6)


def test_views_are_in_the_requested_order():
    images = random_images(3)
    both = make_views(images, Views(), ["freq", "rgb"])
    assert torch.equal(both[1], images)
    assert torch.equal(both[0], high_frequency(images, Views()))


@pytest.mark.parametrize("kind", ["sobel", "canny"])
def test_an_edge_is_highlighted_in_place(kind):
    image = torch.zeros(1, 3, 16, 16)
    image[..., 8:] = 0.6
    added = edge(image, Views(edge=kind, edge_strength=0.3)) - image
    columns = added.amax(dim=(0, 1, 2))
    # Sobel adds the full strength at the steepest position, Canny draws a binary line
    assert columns.max() == pytest.approx(0.3, abs=1e-3)
    assert set(torch.nonzero(columns > 0.05).flatten().tolist()) <= {7, 8}


@pytest.mark.parametrize("kind", ["fft", "gaussian"])
def test_low_frequencies_vanish_and_high_ones_stay(kind):
    place = torch.arange(64) / 64
    settings = Views(freq=kind, freq_cutoff=0.3, freq_base="grey")

    def swing(waves):
        wave = 0.5 + 0.2 * torch.sin(2 * torch.pi * waves * place)
        view = high_frequency(wave.expand(1, 3, 64, 64), settings)
        return float((view - 0.5).abs()[..., 16:-16].max())

    # the cut-off is at 0.3 x 32 = 9.6 periods per image
    assert swing(1) < 0.02
    assert swing(24) == pytest.approx(0.2, abs=0.02)


@FEW
@given(SEEDS, st.sampled_from([(16, 16), (9, 21)]))
def test_sobel_agrees_with_kornia(seed, size):
    filters = pytest.importorskip("kornia.filters")
    images = random_images(seed, 2, *size)
    magnitude = filters.sobel(images.mean(dim=1, keepdim=True), eps=1e-12)
    expected = images + 0.3 * magnitude / magnitude.amax(dim=(2, 3), keepdim=True)
    assert torch.allclose(edge(images, Views(edge_strength=0.3)), expected.clamp(0, 1), atol=1e-4)
