"""Small files that would take long or much memory to decode, or whose pixels are missing."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from data_makers import encoded, pixels
from PIL import Image

from tmkd_deploy.runtime import image_limits
from tmkd_deploy.runtime.image import UnreadableImage, read_rgb

ROW = b"\0" + bytes([200]) * 64 * 3  # of a PNG with 64 x 64 pixels


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(data, width=64, height=64, before=b"", interlaced=0):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced)
    parts = chunk(b"IHDR", header) + before + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def tiff(entries, data=b""):
    """A TIFF of one directory with entries (tag, type, count, value), followed by `data`."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed + bytes(4) + data


def grey_tiff(*more, side=8, compression=1):
    plain = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, compression)]
    return [*plain, (262, 3, 1, 1), (277, 3, 1, 1), *more]


def jpeg_with(scans=0, segments=0, after=b""):
    file = io.BytesIO()
    Image.fromarray(pixels(1)).save(file, "JPEG", progressive=True)
    whole = file.getvalue()
    last = whole[whole.rindex(b"\xff\xda") : -2]
    comments = b"\xff\xfe\0\2" * segments
    return whole[:2] + comments + whole[2:-2] + last * scans + b"\xff\xd9" + after


def refused(content, match):
    with pytest.raises(UnreadableImage, match=match):
        read_rgb(content)


@pytest.mark.parametrize("rows", [0, 1, 40, 63])
def test_a_png_whose_pixels_end_early_is_damaged_and_not_black(rows):
    refused(png(zlib.compress(ROW * rows)), "It is damaged: its pixels end early")


def test_a_png_with_all_pixels_is_read_however_they_are_split():
    data = zlib.compress(ROW * 64)
    parts = b"".join(chunk(b"IDAT", data[start : start + 7]) for start in range(0, len(data), 7))
    whole = png(data)
    split = whole.replace(chunk(b"IDAT", data), parts)
    for content in (whole, split, whole[:-12], png(zlib.compress(ROW * 64 + bytes(99)))):
        assert (read_rgb(content) == 200).all()


def test_an_interlaced_png_is_counted_by_its_passes():
    width, height = 5, 3  # the passes have 1, 1, 2, 2, 4, 1 columns and rows or none
    passes = [(1, 1), (1, 1), (0, 0), (1, 1), (3, 1), (2, 2), (5, 1)]
    data = b"".join((b"\0" + bytes([9]) * 3 * columns) * rows for columns, rows in passes)
    read = read_rgb(png(zlib.compress(data), width, height, interlaced=1))
    assert (read == 9).all()
    assert read.shape == (3, 5, 3)
    refused(png(zlib.compress(data[:-1]), width, height, interlaced=1), "damaged")


def test_a_second_header_does_not_hide_the_size():
    small = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    large = chunk(b"IHDR", struct.pack(">IIBBBBB", 8000, 8000, 8, 2, 0, 0, 0))
    rest = chunk(b"IDAT", zlib.compress(bytes(24_001))) + chunk(b"IEND", b"")
    refused(b"\x89PNG\r\n\x1a\n" + small + large + rest, "damaged")


@pytest.mark.parametrize(("width", "height"), [(1, 101), (101, 1), (60_000_000, 1)])
def test_extreme_aspect_ratios_are_refused(width, height):
    refused(png(zlib.compress(bytes(99)), width, height), "at most 100 times the other")


def test_the_largest_cameras_are_allowed_and_single_pixels_too():
    for width, height in [(9504, 6336), (9344, 7000), (9216, 6912), (1, 1), (1, 100)]:
        assert image_limits.size_problem(width, height, "PNG") is None
    assert image_limits.size_problem(8192, 8193, "PNG")
    assert image_limits.size_problem(5793, 5793, "WEBP")


def test_a_large_webp_is_refused_before_it_is_decoded():
    header = 0x2F | (7999 << 8) | (7999 << 22)
    body = b"VP8L" + struct.pack("<I", 12) + header.to_bytes(5, "little") + bytes(7)
    riff = b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
    refused(riff, r"8000 x 8000 pixels, more than the allowed 33,554,432|damaged")
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + 2 * (7999).to_bytes(3, "little")
    frame = encoded(1, "webp")[12:]
    sizes = bytes(6) + (23).to_bytes(3, "little") + (19).to_bytes(3, "little") + bytes(4)
    frame = b"ANMF" + struct.pack("<I", len(frame) + 16) + sizes + frame
    body = canvas + b"ANIM" + struct.pack("<I", 6) + bytes(6) + frame
    riff = b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
    refused(riff, "8000 x 8000 pixels, more than the allowed 33,554,432")


def test_only_the_first_frame_of_an_animation_is_read():
    file = io.BytesIO()
    first, second = Image.new("RGB", (9, 7), "red"), Image.new("RGB", (9, 7), "blue")
    first.save(file, "WEBP", save_all=True, append_images=[second], lossless=True)
    assert (read_rgb(file.getvalue()) == [255, 0, 0]).all()


def test_a_jpeg_has_a_bounded_number_of_scans_and_segments():
    read_rgb(jpeg_with(scans=20, segments=100))
    refused(jpeg_with(scans=64), "more than the allowed 64 scans")
    refused(jpeg_with(segments=300_000), "more than the allowed 300,000 segments")


def test_a_film_after_a_jpeg_does_not_count():
    read_rgb(jpeg_with(after=b"\xff\xda" * 1000))


def test_text_and_profiles_of_a_png_expand_to_bounded_memory():
    bomb = zlib.compress(bytes(8 << 20))
    for name, start in [(b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0"), (b"iCCP", b"k\0\0")]:
        refused(png(zlib.compress(ROW * 64), before=chunk(name, start + bomb)), "damaged")


def test_a_png_has_a_bounded_number_of_chunks():
    many = chunk(b"prVt", b"") * 300_000
    refused(png(zlib.compress(ROW * 64), before=many), "more than the allowed 300,000 chunks")


def test_tags_of_a_tiff_are_bounded():
    place = 8 + 2 + 10 * 12 + 4
    strips = grey_tiff((273, 4, 200_000, place), (278, 4, 1, 1), (279, 4, 200_000, place))
    refused(tiff(strips, bytes(800_000)), "tag 273 has 200,000 values")
    many = [(1000 + number, 3, 1, 0) for number in range(5000)]
    refused(tiff([*grey_tiff(), *many]), "more than the allowed 4,096 tags")


def test_a_tiff_with_tiles_larger_than_any_image_is_refused():
    data = zlib.compress(bytes(1000))
    place = 8 + 2 + 10 * 12 + 4
    tiles = [(322, 4, 1, 30_000), (323, 4, 1, 30_000), (324, 4, 1, place), (325, 4, 1, len(data))]
    refused(tiff(grey_tiff(*tiles, side=16, compression=8), data), "tiles have 30000 x 30000")


def test_a_tiff_whose_directories_form_a_ring_is_read_once():
    place = 8 + 2 + 9 * 12 + 4
    ring = bytearray(
        tiff(grey_tiff((273, 4, 1, place), (278, 4, 1, 8), (279, 4, 1, 64)), bytes(64))
    )
    ring[place - 4 : place] = struct.pack("<I", 8)
    assert read_rgb(bytes(ring)).shape == (8, 8, 3)


def test_a_tiff_with_three_bands_of_16_bits_keeps_their_upper_bytes():
    place = 8 + 2 + 9 * 12 + 4
    entries = [(256, 4, 1, 1), (257, 4, 1, 1), (258, 3, 3, place + 6), (259, 3, 1, 1)]
    entries += [(262, 3, 1, 2), (273, 4, 1, place), (277, 3, 1, 3), (278, 4, 1, 1), (279, 4, 1, 6)]
    data = struct.pack("<6H", 0x1234, 0xFFFF, 0x00FF, 16, 16, 16)
    assert read_rgb(tiff(entries, data)).tolist() == [[[0x12, 0xFF, 0]]]


def bitmap(height, compression, data, side=8):
    header = struct.pack("<IiiHHIIiiII", 40, side, height, 1, 8, compression, len(data), 0, 0, 0, 0)
    palette = b"".join(bytes([n, n, n, 0]) for n in range(256))
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + palette + data


def test_a_bitmap_of_negative_height_starts_at_the_top():
    rows = bytes(range(64))
    np.testing.assert_array_equal(read_rgb(bitmap(-8, 0, rows)), read_rgb(bitmap(8, 0, rows))[::-1])


def test_run_length_encoding_is_limited_because_it_is_slow():
    refused(bitmap(8, 1, b"\0\1" * (5 << 20)), "run-length encoded and larger than the allowed 8")


def test_paths_lead_to_regular_files_of_bounded_size(tmp_path):
    pipe, huge = tmp_path / "pipe.png", tmp_path / "huge.png"
    os.mkfifo(pipe)
    refused(pipe, "not a regular file")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    refused(tmp_path / "zero.png", "not a regular file")
    with huge.open("wb") as stream:
        stream.truncate(image_limits.MAX_BYTES + 1)
    refused(huge, "larger than 256 MiB")
    refused(tmp_path / "a\0b.png", "a name that no file can have")
    refused(tmp_path / "a\ud800b.png", "a name that no file can have")
    (tmp_path / "real.png").write_bytes(encoded(1))
    (tmp_path / "link.png").symlink_to("real.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "link.png"), pixels(1))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "I;16", "CMYK"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_rows_are_converted_in_parts_without_a_difference(monkeypatch, mode, orientation):
    """Compare with Pillow's own transposition of a whole image."""
    from PIL import ImageOps

    if mode == "I;16":
        image = Image.fromarray(np.arange(20 * 24, dtype=np.uint16).reshape(20, 24) * 137)
    else:
        image = Image.fromarray(pixels(4)).convert(mode if mode != "LA" else "RGBA").convert(mode)
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    image.save(file, "TIFF" if mode == "CMYK" else "PNG", exif=exif)
    whole = read_rgb(file.getvalue())
    monkeypatch.setattr("tmkd_deploy.runtime.image._PIXELS_AT_ONCE", 50)
    np.testing.assert_array_equal(read_rgb(file.getvalue()), whole)
    if mode == "RGB":
        upright = np.asarray(ImageOps.exif_transpose(Image.open(file)))
        np.testing.assert_array_equal(whole, upright)


@pytest.mark.parametrize("kind", [b"P1", b"P2", b"P3"])
def test_pixels_as_text_are_limited_because_they_are_slow(kind):
    header = kind + b" 2000 2000 " + (b"" if kind == b"P1" else b"255 ")
    refused(header + b"0 " * (5 << 20), "stored as text and larger than the allowed 8 MiB")
