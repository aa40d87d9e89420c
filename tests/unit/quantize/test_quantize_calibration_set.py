"""The calibration set: class-balanced, recorded, and never from the test split."""

import dataclasses
import hashlib
import json
from collections import Counter

import numpy as np
import pytest
from data_records import data_record
from hypothesis import given, settings
from hypothesis import strategies as st

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.errors import DataError
from tmkd_deploy.quantize.calibration_set import RECORD, draw_calibration_set
from tmkd_deploy.recipe.schema import Recipe


def recipe(images, seed=0):
    return Recipe.model_validate(
        {
            "name": "few",
            "seed": seed,
            "data": {"source": "folder", "path": "few", "image_size": 16},
            "quantize": {"calibration": {"images": images}},
            "targets": [{"target": "cpu"}],
        }
    )


def split(pixels, labels, test_pixels):
    """Data whose images each have a single constant value."""
    record = data_record([f"class {label}" for label in range(max(labels) + 1)], 4)

    def filled(numbers):
        images = np.zeros((len(numbers), 4, 4, 3), dtype=np.uint8)
        images[:, 0, 0, 0] = np.array(numbers) % 256
        images[:, 0, 0, 1] = np.array(numbers) // 256
        return images

    return PreparedData(
        record,
        {"train": filled(pixels), "test": filled(test_pixels)},
        {"train": np.array(labels), "test": np.zeros(len(test_pixels), dtype=np.int64)},
        {
            "train": [f"train {row}" for row in range(len(pixels))],
            "test": [f"test {row}" for row in range(len(test_pixels))],
        },
    )


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=6).filter(lambda n: sum(n) >= 32),
    st.integers(32, 200),
    st.integers(0, 100),
)
def test_every_class_contributes_equally_or_all_it_has(sizes, wanted, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    data = split(list(range(len(labels))), labels.tolist(), [5000])
    drawn = draw_calibration_set(recipe(wanted, seed), data)
    assert len(drawn.keys) == min(wanted, sum(sizes)) == len(set(drawn.hashes))
    given_by = Counter(drawn.labels)
    most = max(given_by.values())
    for label, size in enumerate(sizes):
        assert given_by[f"class {label}"] in (size, most, most - 1)
    assert [data.keys("train").index(key) for key in drawn.keys] == sorted(
        data.keys("train").index(key) for key in drawn.keys
    )


def test_only_the_seed_changes_the_selection():
    data = split(list(range(100)), [row % 3 for row in range(100)], [5000])
    first, again = (draw_calibration_set(recipe(40), data) for _ in range(2))
    assert first.keys == again.keys
    assert first.sha256 != draw_calibration_set(recipe(40, seed=1), data).sha256


def test_the_record_names_each_image_with_the_hash_of_its_pixels(tmp_path):
    data = split(list(range(100)), [row % 3 for row in range(100)], [5000])
    drawn = draw_calibration_set(recipe(40), data)
    drawn.write_record(tmp_path)
    record = json.loads((tmp_path / RECORD).read_text())
    assert record["sha256"] == drawn.sha256 and len(record["images"]) == 40
    for image, each in zip(drawn.images, record["images"], strict=True):
        row = data.keys("train").index(each["key"])
        assert np.array_equal(image, data.images("train")[row])
        assert each["sha256"] == hashlib.sha256(image.tobytes()).hexdigest()
        assert each["class"] == f"class {data.labels('train')[row]}"


def test_identical_images_count_once():
    data = split([row % 40 for row in range(200)], [row % 2 for row in range(200)], [5000])
    assert len(draw_calibration_set(recipe(100), data).keys) == 40
    few = split([row % 31 for row in range(200)], [row % 2 for row in range(200)], [5000])
    with pytest.raises(
        DataError, match="at least 32 distinct training images, but there are only 31"
    ):
        draw_calibration_set(recipe(100), few)


def test_all_identical_images_are_refused():
    data = split([7] * 50, [row % 2 for row in range(50)], [5000])
    with pytest.raises(DataError, match="all 50 training images are identical"):
        draw_calibration_set(recipe(40), data)


def test_a_test_image_among_them_is_refused_with_both_names():
    data = split(list(range(50)), [0] * 50, [5000, 17])
    with pytest.raises(DataError, match=r"'train 17'.*same pixels as the test image 'test 1'"):
        draw_calibration_set(recipe(50), data)


def test_a_test_image_added_to_the_training_images_later_is_detected():
    """If files of a run folder are replaced, its stored hashes prove nothing."""
    data = split(list(range(50)), [0] * 50, [5000, 5001])
    images = data.images("train").copy()
    images[3] = data.images("test")[1]
    swapped = dataclasses.replace(data, _images={"train": images, "test": data.images("test")})
    with pytest.raises(DataError, match=r"'train 3'.*'test 1'"):
        draw_calibration_set(recipe(50), swapped)
