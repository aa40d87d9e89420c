import io
import os
import struct
import zlib

import numpy as np
import pytest
from data_makers import encoded, pixels
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tmkd_deploy.runtime.image import UnreadableImage, read_rgb


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_that_claims(width, height):
    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99)))


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "ppm"])
def test_lossless_formats_preserve_pixels_exactly(kind):
    image = read_rgb(encoded(1, kind))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, pixels(1))


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_lossy_formats_preserve_pixels_approximately(kind):
    image = read_rgb(saved(Image.new("RGB", (8, 6), (200, 100, 50)), kind, quality=95))
    assert image.shape == (6, 8, 3)
    assert np.abs(image.astype(int) - [200, 100, 50]).max() < 8


def test_the_first_frame_of_a_gif_is_read():
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    read = read_rgb(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    np.testing.assert_array_equal(read, np.full((6, 8, 3), (255, 0, 0)))


def test_a_path_and_its_bytes_give_the_same_image(tmp_path):
    file = tmp_path / "image.png"
    file.write_bytes(encoded(2))
    np.testing.assert_array_equal(read_rgb(file), read_rgb(file.read_bytes()))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_other_colour_models_are_converted_to_rgb(mode):
    image = Image.fromarray(pixels(3)).convert(mode)
    read = read_rgb(saved(image, "TIFF"))
    np.testing.assert_array_equal(read, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_upper_byte(kind):
    grey = np.array([[0, 255, 256], [0x7FFF, 0x8000, 0xFFFF]], dtype=np.uint16)
    read = read_rgb(saved(Image.fromarray(grey), kind))
    np.testing.assert_array_equal(read[:, :, 0], [[0, 0, 1], [0x7F, 0x80, 0xFF]])
    np.testing.assert_array_equal(read[:, :, 0], read[:, :, 2])


def test_32_bit_integers_count_as_16_bit_if_they_fit():
    fits = np.array([[0, 0xFFFF]], dtype=np.int32)
    np.testing.assert_array_equal(read_rgb(saved(Image.fromarray(fits), "TIFF"))[0, :, 0], [0, 255])
    with pytest.raises(UnreadableImage, match="32-bit"):
        read_rgb(saved(Image.fromarray(fits + 1), "TIFF"))


def test_floating_point_pixels_are_refused():
    with pytest.raises(UnreadableImage, match="floating-point"):
        read_rgb(saved(Image.new("F", (4, 4), 0.5), "TIFF"))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_composited_on_white(mode):
    image = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate([0, 128, 255]):
        image.putpixel((x, 0), (0, 0, 0, alpha))
    read = read_rgb(saved(image.convert(mode), "PNG"))
    assert read[0, :, 0].tolist() == [255, 127, 0]


def test_the_transparent_colour_of_a_palette_is_composited_on_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    read = read_rgb(saved(image, "PNG", transparency=0))
    assert read.tolist() == [[[255, 255, 255], [40, 50, 60]]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_honoured(kind):
    upright = Image.new("RGB", (32, 16), "black")
    upright.paste("white", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # displayed rotated clockwise by a quarter turn
    read = read_rgb(saved(upright, kind, exif=exif))
    assert read.shape == (32, 16, 3)
    assert read[:12].min() > 200
    assert read[20:].max() < 50


def test_bytes_that_are_not_an_image_are_refused():
    for junk in [b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\x00" * 50]:
        with pytest.raises(
            UnreadableImage, match="not a PNG, JPEG, BMP, GIF, PPM, WebP or TIFF image"
        ):
            read_rgb(junk)
    with pytest.raises(UnreadableImage, match="empty"):
        read_rgb(b"")


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "bmp", "tiff"])
def test_a_truncated_image_is_damaged(kind):
    whole = encoded(4, kind, height=64, width=64)
    with pytest.raises(UnreadableImage, match=r"^It is damaged: .+\.$"):
        read_rgb(whole[: len(whole) // 2])


def test_files_that_cannot_be_opened_report_why(tmp_path):
    with pytest.raises(UnreadableImage, match="No such file"):
        read_rgb(tmp_path / "nowhere.png")
    with pytest.raises(UnreadableImage, match="directory"):
        read_rgb(tmp_path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_500, 60_000])
def test_decompression_bombs_are_refused_before_they_are_decoded(side):
    with pytest.raises(UnreadableImage, match="pixels"):
        read_rgb(png_that_claims(side, side))


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["png", "jpeg", "webp", "bmp", "tiff"]),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_only_raise_unreadable_image(kind, changes):
    data = bytearray(encoded(5, kind))
    for position, value in changes:
        data[position % len(data)] = value
    try:
        image = read_rgb(bytes(data))
    except UnreadableImage:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_reported(tmp_path):
    file = tmp_path / "secret.png"
    file.write_bytes(encoded(1))
    file.chmod(0)
    with pytest.raises(UnreadableImage, match="Permission denied"):
        read_rgb(file)
