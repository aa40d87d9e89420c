"""Frames in every order of memory become the pixels that Pillow makes of plain RGB."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from colour_bundle import COLOURS, solid
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tmkd_deploy.runtime import Prediction, load
from tmkd_deploy.runtime.decision import probabilities
from tmkd_deploy.runtime.image_input import pixels_of
from tmkd_deploy.runtime.preprocess import PADDING, Preprocessing, ResizeMode

sides = st.integers(1, 40)


def by_pillow(to: Preprocessing, rgb: np.ndarray) -> np.ndarray:
    """The definition: Pillow's bilinear filter on the whole RGB image, and nothing clever."""
    whole = Image.fromarray(np.ascontiguousarray(rgb))
    height, width, box = to.height, to.width, None
    if to.resize == "letterbox":
        height, width = to._fitted(whole.height, whole.width)
    if to.resize == "crop":
        box = to._centre(whole.height, whole.width)
    resized = whole.resize((width, height), Image.Resampling.BILINEAR, box)
    if to.grayscale:
        resized = resized.convert("L").convert("RGB")
    padded = np.full((to.height, to.width, 3), PADDING, np.uint8)
    top, left = (to.height - height) // 2, (to.width - width) // 2
    padded[top : top + height, left : left + width] = np.array(resized)
    return padded


def given_as(pixels: np.ndarray, layout: str) -> np.ndarray:
    """The same pixels [H, W, channels] elsewhere in memory."""
    if layout == "planes":
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)).transpose(1, 2, 0)
    if layout == "wide":
        wide = np.zeros((len(pixels), pixels.shape[1] + 3, pixels.shape[2]), np.uint8)
        wide[:, 1:-2] = pixels
        return wide[:, 1:-2]
    if layout == "upside down":
        return np.ascontiguousarray(pixels[::-1])[::-1]
    if layout == "read-only":
        pixels = pixels.copy()
        pixels.flags.writeable = False
    return pixels


@given(
    size=st.tuples(sides, sides),
    to=st.builds(Preprocessing, sides, sides, st.sampled_from(get_args(ResizeMode)), st.booleans()),
    same_size=st.booleans(),
    kind=st.sampled_from(["grey", "grey plane", "RGB", "BGR", "RGBA", "BGRA"]),
    layout=st.sampled_from(["plain", "planes", "wide", "upside down", "read-only"]),
    seed=st.integers(0, 2**32),
    extreme=st.booleans(),
)
def test_any_array_becomes_the_pixels_that_pillow_makes(
    size: tuple[int, int],
    to: Preprocessing,
    same_size: bool,
    kind: str,
    layout: str,
    seed: int,
    extreme: bool,
) -> None:
    height, width = (to.height, to.width) if same_size else size
    channels = 1 if kind.startswith("grey") else len(kind)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    if extreme:
        pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)
    rgb = np.repeat(pixels, 3, axis=2) if channels == 1 else pixels
    if channels == 4:
        blended = Image.new("RGBA", (width, height), "white")
        rgb = np.array(Image.alpha_composite(blended, Image.fromarray(pixels)).convert("RGB"))
    bgr = kind.startswith("BGR")
    image = given_as(pixels, layout)
    found = to(
        pixels_of(image[:, :, 0] if kind == "grey plane" else image, kind[:3] if bgr else "RGB")
    )
    np.testing.assert_array_equal(found, by_pillow(to, rgb[:, :, ::-1] if bgr else rgb))
    assert found.dtype == np.uint8


def test_an_image_of_the_engines_size_stays_as_it_was(bundle: Path) -> None:
    image = solid("green")
    image.flags.writeable = False
    assert load(bundle).predict(image).label == "green"
    np.testing.assert_array_equal(image, solid("green"))


def predictions() -> list[Prediction]:
    """The same one, computed when it is read and given at once."""
    logits = np.array([1.5, -2.25, 0.125], np.float32)
    shares = probabilities(logits[np.newaxis])[0].tolist()
    whole = Prediction("green", 1, shares[1], dict(zip(COLOURS, shares, strict=True)), logits)
    return [Prediction.of(COLOURS, 1, logits), whole]


def as_text(prediction: Prediction) -> str:
    return str(dataclasses.asdict(prediction))


@pytest.mark.parametrize(
    "use",
    [
        as_text,
        repr,
        lambda one: as_text(dataclasses.replace(one, label="red")),
        lambda one: as_text(pickle.loads(pickle.dumps(one))),
        lambda one: as_text(copy.copy(one)),
        lambda one: as_text(copy.deepcopy(one)),
        lambda one: (one.confidence, one.probabilities),
        lambda one: (one.probabilities is one.probabilities, one.confidence),
    ],
)
def test_a_prediction_is_the_same_whenever_it_is_computed(use) -> None:  # type: ignore[no-untyped-def]
    late, at_once = predictions()
    assert use(late) == use(at_once)


def test_probabilities_are_those_of_the_engines_logits() -> None:
    late, at_once = predictions()
    late.logits[:] = 0
    assert late.probabilities == at_once.probabilities
    assert late.confidence == at_once.confidence


def test_a_prediction_cannot_be_changed_and_has_no_other_attributes() -> None:
    for prediction in predictions():
        with pytest.raises(dataclasses.FrozenInstanceError):
            prediction.label = "red"  # type: ignore[misc]
        with pytest.raises(AttributeError, match="no attribute 'score'"):
            prediction.score  # noqa: B018
