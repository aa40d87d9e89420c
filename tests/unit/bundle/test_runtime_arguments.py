"""Whatever an application passes: an answer, or an error that is documented."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colour_bundle import COLOURS, solid
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from tmkd_deploy.runtime import (
    ArgumentError,
    BundleError,
    Classifier,
    Prediction,
    UnreadableImage,
    load,
    verify,
)
from tmkd_deploy.runtime.image import MAX_PIXELS, read_rgb
from tmkd_deploy.runtime.image_input import pixels_of

ONE_BUNDLE = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MODES = ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "LA", "PA", "I", "F", "I;16"]


class Contrary:
    """An object whose methods fail; hypothesis needs its hash and its repr."""

    def _fail(self, *_: object) -> Any:
        raise RuntimeError("no")

    __str__ = __len__ = __iter__ = __bool__ = __format__ = __reduce__ = _fail
    __array__ = __index__ = __int__ = __float__ = __fspath__ = __getitem__ = _fail


def saved(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


@pytest.fixture
def model(bundle: Path) -> Classifier:
    return load(bundle, verify=False)


anything = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers()),
        *(st.text(max_size=20), st.binary(max_size=50), st.binary(max_size=50).map(bytearray)),
        st.binary(max_size=50).map(memoryview),
        st.text(max_size=20).map(Path),
        arrays.arrays(
            st.one_of(arrays.scalar_dtypes(), st.just(np.dtype(object))),
            arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
            elements=None,
        ),
        arrays.arrays(np.uint8, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0)),
        st.sampled_from(MODES).map(lambda mode: Image.new(mode, (2, 3))),
        st.sampled_from([Contrary(), Contrary, object(), len, ..., 10**400, np.uint8(1), b""]),
    ),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.lists(inside, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inside, max_size=2)
    ),
    max_leaves=4,
)


@ONE_BUNDLE
@given(image=anything, colour=st.sampled_from(["RGB", "BGR"]) | anything)
def test_any_image_gives_an_answer_or_a_documented_error(
    model: Classifier, image: Any, colour: Any
) -> None:
    try:
        assert model.predict(image, colour=colour).label in COLOURS
    except (UnreadableImage, ArgumentError) as error:
        assert str(error).endswith(".")
        assert len(str(error)) < 500
    try:
        assert all(
            isinstance(each, Prediction) for each in model.predict_batch(image, colour=colour)
        )
    except (UnreadableImage, ArgumentError) as error:
        assert str(error).endswith(".")


@ONE_BUNDLE
@given(path=anything, threads=anything, flag=anything)
def test_any_argument_of_load_gives_a_documented_error(
    bundle: Path, path: Any, threads: Any, flag: Any
) -> None:
    for arguments in (
        {"path": path},
        {"path": bundle, "threads": threads},
        {"path": bundle, "verify": flag},
    ):
        try:
            assert isinstance(load(**arguments), Classifier)
        except (BundleError, ArgumentError) as error:
            assert str(error).endswith(".")
    with pytest.raises((BundleError, ArgumentError)):
        verify(path)


@pytest.mark.parametrize(
    "threads", [0, -1, 257, 10**6, pytest.param(10**5000, id="huge"), True, "4", 2.5, [1]]
)
def test_a_number_of_threads_that_is_none_is_refused(bundle: Path, threads: Any) -> None:
    with pytest.raises(ArgumentError, match="`threads` must be a whole number from 1 to 256 or"):
        load(bundle, threads=threads)


def test_a_path_must_be_a_path(bundle: Path) -> None:
    for use in (load, verify):
        with pytest.raises(
            ArgumentError,
            match=r"must be a `str` or a `pathlib\.Path`, not an object of type bytes",
        ):
            use(bytes(bundle))  # type: ignore[arg-type]
        with pytest.raises(BundleError, match="a name that no file can have"):
            use("\0")


@pytest.mark.timeout(60)
def test_a_pipe_is_not_waited_for(tmp_path: Path, model: Classifier) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with pytest.raises(BundleError, match="not a regular file"):
        load(pipe)
    with pytest.raises(UnreadableImage, match=r"pipe\.png cannot be used.* not a regular file"):
        model.predict(pipe)


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (
            solid("red"),
            "must be a list or tuple, not an object of type ndarray; classify one image with",
        ),
        ("cell.png", "must be a list or tuple, not 'cell.png'"),
        (iter([solid("red")]), "must be a list or tuple, not an object of type list_iterator"),
        (None, "must be a list or tuple, not None"),
    ],
)
def test_a_batch_is_a_list(model: Classifier, images: Any, match: str) -> None:
    with pytest.raises(ArgumentError, match=match):
        model.predict_batch(images)


@pytest.mark.parametrize("mode", MODES)
def test_a_pillow_image_is_read_as_its_file_is(mode: str) -> None:
    generator = np.random.default_rng(1)
    colours = Image.fromarray(generator.integers(0, 256, (5, 4, 4), dtype=np.uint8))
    if mode in ("LAB", "F", "I", "I;16"):
        image = Image.new(mode, (4, 5))
    elif mode == "PA":
        image = colours.convert("RGB").convert("P").convert(mode)
    else:
        image = colours.convert("RGBA" if mode in ("LA", "RGBA") else "RGB").convert(mode)
    try:
        expected = read_rgb(saved(image))
    except OSError:  # a PNG cannot have this mode
        try:
            assert pixels_of(image, "RGB").shape == (5, 4, 3)
        except UnreadableImage as error:
            assert mode in ("LAB", "F")
            assert "floating-point" in str(error) or "Pillow cannot decode it" in str(error)
        return
    np.testing.assert_array_equal(pixels_of(image, "RGB"), expected)


def test_the_orientation_of_a_pillow_image_counts(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    path.write_bytes(
        saved(Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3)), exif=exif)
    )
    with Image.open(path) as image:
        np.testing.assert_array_equal(pixels_of(image, "RGB"), pixels_of(path, "RGB"))
    with pytest.raises(UnreadableImage, match="Pillow cannot decode it"):
        with Image.open(path) as closed:
            pass
        pixels_of(closed, "RGB")


@given(
    image=arrays.arrays(
        np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3, 4]))
    )
)
def test_an_array_is_read_as_its_file_is(image: np.ndarray) -> None:
    file = saved(Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image))
    expected = read_rgb(file)
    for given_as in (
        image,
        np.asfortranarray(image),
        np.repeat(image, 2, axis=1)[:, ::2],
        np.ascontiguousarray(image[::-1])[::-1],
    ):
        given_as.flags.writeable = False
        np.testing.assert_array_equal(pixels_of(given_as, "RGB"), expected)
    if image.shape[2] == 1:
        np.testing.assert_array_equal(pixels_of(image[:, :, 0], "RGB"), expected)
    else:
        reversed_colours = image[:, :, [2, 1, 0, 3][: image.shape[2]]]
        np.testing.assert_array_equal(pixels_of(reversed_colours, "BGR"), expected)
    for encoded in (file, bytearray(file), memoryview(file), memoryview(file + file)[: len(file)]):
        np.testing.assert_array_equal(pixels_of(encoded, "RGB"), expected)


def test_the_order_of_colours_is_asked_for(model: Classifier) -> None:
    red = solid("red")
    assert model.predict(red, colour="BGR").label == "blue"
    assert [each.label for each in model.predict_batch([red, red], colour="BGR")] == ["blue"] * 2
    for image in (red[:, :, 0], saved(Image.fromarray(red)), Image.fromarray(red)):
        with pytest.raises(UnreadableImage, match="`colour` is 'BGR'"):
            model.predict(image, colour="BGR")
    for colour in ("bgr", "GRB", None, ["RGB"]):
        with pytest.raises(ArgumentError, match='`colour` must be `"RGB"` or `"BGR"`'):
            model.predict(red, colour=colour)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (np.zeros((8, 8, 3), np.float32), r"type float32 and shape \[8, 8, 3\]; .*\* 255"),
        (np.zeros((8, 8, 3), np.int64), "type int64 .* must be uint8"),
        (np.zeros((8, 8, 3), bool), "type bool .* must be uint8"),
        (np.full((8, 8, 3), 1, object), "type object .* must be uint8"),
        (np.zeros((3, 8, 8), np.uint8), r"shape \[3, 8, 8\]; arrays must have shape"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"shape \[1, 8, 8, 3\]; arrays must have shape"),
        (np.zeros((8, 0), np.uint8), "no pixels"),
        (np.broadcast_to(np.uint8(0), (10**6, 10**6, 3)), f"more than the allowed {MAX_PIXELS:,}"),
        (np.broadcast_to(np.uint8(0), (10**6, 10**6)), "more than the allowed"),
        (np.ma.masked_array(np.zeros((2, 2, 3), np.uint8), True), "masked"),
        (None, "of type NoneType; pass the path of an image file"),
        ([[1, 2], [3, 4]], "of type list; pass"),
        (Image.new("RGB", (0, 4)), "no pixels"),
        (b"", "empty"),
        (bytearray(), "empty"),
        ("a\0b", "a name that no file can have"),
        ("\udc80", "cannot be opened|a name that no file can have"),
    ],
)
def test_what_is_no_image_is_told_what_one_is(model: Classifier, image: Any, match: str) -> None:
    with pytest.raises(
        UnreadableImage, match=f"^The image.* cannot be used. .*({match})"
    ) as caught:
        model.predict(image)
    assert str(caught.value).isprintable()
    with pytest.raises(UnreadableImage, match=match):
        model.predict_batch([solid("red"), image])


def test_subclasses_of_arrays_are_arrays(model: Classifier, tmp_path: Path) -> None:
    np.save(tmp_path / "red.npy", solid("red"))
    mapped = np.load(tmp_path / "red.npy", mmap_mode="r")
    assert model.predict(mapped).label == "red"

    class Pixels(np.ndarray):
        pass

    assert model.predict(solid("blue").view(Pixels)).label == "blue"
