"""From pixels of any size to the models' input."""

from typing import get_args

import numpy as np
import pytest
from data_makers import make_folder, pixels
from hypothesis import given
from hypothesis import strategies as st

from tmkd_deploy.data.near_duplicates import find_near_duplicates
from tmkd_deploy.data.prepare import prepare
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.recipe.schema import Data
from tmkd_deploy.runtime.preprocess import PADDING, Preprocessing, ResizeMode

MODES = get_args(ResizeMode)


def disc(height: int, width: int) -> np.ndarray:
    """A white disc in the middle of a black image, as large as fits."""
    rows, columns = np.ogrid[:height, :width]
    distance = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2)
    disc = (distance < min(height, width) / 2) * np.uint8(255)
    return np.repeat(disc[..., None], 3, axis=2)


def white_extent(image: np.ndarray) -> tuple[int, int]:
    white = image[..., 0] > 200
    return int(white.any(axis=1).sum()), int(white.any(axis=0).sum())


def test_the_recipe_offers_every_mode() -> None:
    assert Data.model_json_schema()["properties"]["resize"]["enum"] == list(MODES)


def test_squashing_distorts_and_the_others_do_not() -> None:
    wide = disc(100, 200)
    assert white_extent(Preprocessing(40, 40)(wide)) == (40, 20)
    assert white_extent(Preprocessing(40, 40, "letterbox")(wide)) == (20, 20)
    assert white_extent(Preprocessing(40, 40, "crop")(wide)) == (40, 40)


def test_a_letterbox_holds_the_whole_image_between_equal_bars() -> None:
    image = np.full((30, 60, 3), (250, 10, 20), np.uint8)
    boxed = Preprocessing(16, 16, "letterbox")(image)
    assert (boxed[4:12] == (250, 10, 20)).all()
    assert (boxed[:4] == PADDING).all() and (boxed[12:] == PADDING).all()
    upright = Preprocessing(16, 16, "letterbox")(image.swapaxes(0, 1))
    np.testing.assert_array_equal(upright, boxed.swapaxes(0, 1))


def test_a_crop_is_the_centre() -> None:
    image = pixels(1, height=20, width=60)
    crop = Preprocessing(20, 20, "crop")(image)
    np.testing.assert_array_equal(crop, image[:, 20:40])


def test_grey_is_luma_in_three_channels() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]], np.uint8)
    grey = Preprocessing(1, 4, grayscale=True)(colours)
    assert grey[..., 0].tolist() == [[76, 150, 29, 9]]
    assert (grey == grey[..., :1]).all()


def test_luma_is_computed_as_the_bundle_reference_says() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    grey = Preprocessing(64, 64, grayscale=True)(colours)
    luma = (colours.astype(np.int64) @ [19595, 38470, 7471] + 32768) >> 16
    np.testing.assert_array_equal(grey, np.repeat(luma[..., None], 3, axis=2))


@pytest.mark.parametrize("mode", MODES)
def test_an_image_of_the_right_size_stays_as_it_is(mode: ResizeMode) -> None:
    result = Preprocessing(20, 24, mode)(pixels(6))
    np.testing.assert_array_equal(result, pixels(6))
    assert result.flags.writeable


def test_shrinking_averages() -> None:
    board = np.zeros((64, 64, 3), dtype=np.uint8)
    board[::2, ::2] = board[1::2, 1::2] = 255
    small = Preprocessing(8, 16)(board)
    assert np.abs(small.astype(int) - 127).max() <= 20


@given(
    sides=st.tuples(st.integers(1, 100), st.integers(1, 100)),
    target=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    mode=st.sampled_from(MODES),
    grayscale=st.booleans(),
)
def test_any_size_fits_and_one_colour_stays_one_colour(
    sides: tuple[int, int], target: tuple[int, int], mode: ResizeMode, grayscale: bool
) -> None:
    image = np.full((*sides, 3), 77, np.uint8)
    result = Preprocessing(*target, mode, grayscale)(image)
    assert result.shape == (*target, 3) and result.dtype == np.uint8
    values = set(np.unique(result).tolist())
    assert 77 in values and values <= ({77, PADDING} if mode == "letterbox" else {77})


def test_equal_bars_do_not_make_near_duplicates() -> None:
    box = Preprocessing(64, 64, "letterbox")
    one = pixels(1, height=16, width=64) // 8 + 200
    other = one + pixels(2, height=16, width=64) // 32  # with the same hash
    brighter = one + 3
    images = np.stack([box(each) for each in (one, other, brighter)])
    found = find_near_duplicates(images, range(3), SilentEvents())
    assert [(pair.first, pair.second) for pair in found] == [(0, 2)]


@pytest.mark.parametrize("workers", [1, 2])
def test_preparing_does_as_the_recipe_says(tmp_path, monkeypatch, workers: int) -> None:
    monkeypatch.setattr("tmkd_deploy.data.decode.IMAGES_PER_PROCESS", 5)
    monkeypatch.setattr("tmkd_deploy.data.decode.IMAGES_PER_BLOCK", 4)
    make_folder(tmp_path / "images", {"a": 6, "b": 6})
    spec = Data(
        source="folder",
        path=tmp_path / "images",
        image_size=16,
        resize="letterbox",
        grayscale=True,
        workers=workers,
    )
    (tmp_path / "out").mkdir()
    record = prepare(spec, tmp_path / "out", SilentEvents())
    assert record.preprocessing == Preprocessing(16, 16, "letterbox", True)
    images = np.concatenate([np.load(file) for file in (tmp_path / "out").glob("*_images.npy")])
    expected = [record.preprocessing(pixels(seed)) for seed in range(12)]
    assert {image.tobytes() for image in images} == {image.tobytes() for image in expected}
