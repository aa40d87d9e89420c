from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images

from tmkd_deploy.data import near_duplicates
from tmkd_deploy.data.near_duplicates import MAX_HASH_DISTANCE, find_near_duplicates
from tmkd_deploy.events import SilentEvents

SIZE = 96
hashes = st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=40)


@pytest.fixture(scope="module")
def scenes() -> list[Image.Image]:
    """Crops of two photographs that share no pixels; a hash of plain sky would be noise."""
    crops = [
        Image.fromarray(photo[top : top + 100, left : left + 150]).resize((SIZE, SIZE))
        for photo in load_sample_images().images
        for top in (0, 110, 220)
        for left in (0, 160, 320, 480)
    ]
    return [crop for crop in crops if np.asarray(crop.convert("L")).std() > 10]


def _pairs(images: list[Image.Image]) -> set[tuple[int, int]]:
    stacked = np.stack([np.asarray(image.convert("RGB")) for image in images])
    found = find_near_duplicates(stacked, range(len(images)), SilentEvents())
    return {(pair.first, pair.second) for pair in found}


def test_different_scenes_are_not_near_duplicates(scenes: list[Image.Image]) -> None:
    assert _pairs(scenes) == set()


@pytest.mark.parametrize("change", ["jpeg", "half", "darker", "identical"])
def test_altered_copies_are_found(scenes: list[Image.Image], change: str) -> None:
    def altered(image: Image.Image) -> Image.Image:
        if change == "jpeg":
            stream = io.BytesIO()
            image.save(stream, "JPEG", quality=60)
            return Image.open(stream)
        if change == "half":
            return image.resize((SIZE // 2, SIZE // 2)).resize((SIZE, SIZE))
        return ImageEnhance.Brightness(image).enhance(0.8 if change == "darker" else 1.0)

    copies = [altered(image) for image in scenes]
    count = len(scenes)
    assert _pairs([*scenes, *copies]) == {(place, place + count) for place in range(count)}


def test_rows_select_and_number_the_images(scenes: list[Image.Image]) -> None:
    stacked = np.stack([np.asarray(scenes[place]) for place in (0, 1, 2, 1)])
    found = find_near_duplicates(stacked, [3, 1], SilentEvents())
    assert [(pair.first, pair.second) for pair in found] == [(0, 1)]
    assert found[0].correlation == pytest.approx(1, abs=1e-5)


def test_plain_images_match_nothing_but_themselves_in_shape() -> None:
    plain = [Image.new("RGB", (SIZE, SIZE), (grey, grey, grey)) for grey in (0, 90, 255)]
    assert _pairs(plain) == set()


@given(hashes)
def test_similar_hashes_are_those_within_the_distance(values: list[int]) -> None:
    found = set(near_duplicates._similar_hashes(np.array(values, dtype=np.uint64)))
    assert found == {
        (i, j)
        for j in range(len(values))
        for i in range(j)
        if (values[i] ^ values[j]).bit_count() <= MAX_HASH_DISTANCE
    }


@given(hashes)
def test_bits_are_counted_alike_before_numpy_2(values: list[int]) -> None:
    array = np.array(values, dtype=np.uint64)
    by_table = near_duplicates._BITS_OF_BYTE[array[:, np.newaxis].view(np.uint8)].sum(axis=-1)
    assert by_table.tolist() == [value.bit_count() for value in values]
    assert near_duplicates._bit_counts(array).tolist() == by_table.tolist()
