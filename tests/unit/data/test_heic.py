"""HEIC photographs: read where pillow-heif is installed, named with the extra where it is not."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_makers import make_folder, pixels
from PIL import Image

from tmkd_deploy.data import folder
from tmkd_deploy.data.image_kinds import read_headers
from tmkd_deploy.data.sources import read_source
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.recipe.schema import Data
from tmkd_deploy.runtime.image import UnreadableImage, read_rgb

needs_heif = pytest.mark.skipif(not folder.READS_HEIC, reason="pillow-heif is not installed")
HEADER = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic"


def heic(image: Image.Image, orientation: int = 1) -> bytes:
    import pillow_heif

    exif = Image.Exif()
    exif[0x0112] = orientation  # the container gets a turn of its own, as from a camera
    how = {"quality": -1, "chroma": 444, "exif": exif.tobytes()}
    file = io.BytesIO()
    pillow_heif.encode(image.mode, image.size, image.tobytes(), file, **how)
    return file.getvalue()


def without_heif(program: str, argument: str) -> str:
    """What a program prints where pillow-heif cannot be imported."""
    before = "import sys; sys.modules['pillow_heif'] = None; "
    command = [sys.executable, "-c", before + program, argument]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_without_the_plugin_they_are_not_used_and_the_extra_is_named(tmp_path: Path) -> None:
    make_folder(tmp_path / "images", {"a": 2, "b": 2})
    (tmp_path / "images" / "a" / "photo.HEIC").write_bytes(HEADER)
    told = without_heif(
        "from tmkd_deploy.data.sources import read_source; "
        "from tmkd_deploy.data.unused import described; "
        "from tmkd_deploy.recipe.schema import Data; "
        "print(described(read_source(Data(source='folder', path=sys.argv[1])).unused))",
        str(tmp_path / "images"),
    )
    needs = "pip install 'tmkd-deploy[heic]'"
    found = f"1 in HEIC, which {needs} would read, such as 'a/photo.HEIC'"
    assert told == f"Files that are not used: {found}.\n"


def test_without_the_plugin_an_application_learns_what_is_missing() -> None:
    told = without_heif(
        "from tmkd_deploy.runtime.image import read_rgb; read_rgb(bytes.fromhex(sys.argv[1]))",
        HEADER.hex(),
    )
    assert "UnreadableImage: It is a HEIC file; to read these, run: pip install" in told


@needs_heif
@pytest.mark.parametrize("orientation", range(1, 9))
def test_they_are_read_upright(orientation: int) -> None:
    image = Image.fromarray(pixels(3, 40, 64))
    exif = Image.Exif()
    exif[0x0112] = orientation
    png = io.BytesIO()
    image.save(png, "PNG", exif=exif)
    found, expected = read_rgb(heic(image, orientation)), read_rgb(png.getvalue())
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 3


@needs_heif
@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_grey_and_transparent_ones_become_rgb(mode: str) -> None:
    image = Image.fromarray(pixels(3, 40, 64)).convert(mode)
    png = io.BytesIO()
    image.save(png, "PNG")
    difference = read_rgb(heic(image)).astype(int) - read_rgb(png.getvalue())
    assert np.abs(difference).max() <= 3


@needs_heif
def test_damaged_ones_are_named() -> None:
    whole = heic(Image.fromarray(pixels(3, 40, 64)))
    for content in (HEADER, whole[: len(whole) // 2], whole[:-1]):
        with pytest.raises(UnreadableImage, match="damaged"):
            read_rgb(content)


@needs_heif
def test_what_they_claim_is_bounded_and_believed() -> None:
    def claiming(side: int) -> bytes:
        content = bytearray(heic(Image.new("RGB", (2048, 2048))))
        place = 0
        while (place := content.find(b"ispe", place) + 1) > 0:
            content[place + 7 : place + 15] = struct.pack(">II", side, side)
        return bytes(content)

    with pytest.raises(UnreadableImage, match="9000 x 9000 pixels, more than the allowed"):
        read_rgb(claiming(9000))
    with pytest.raises(UnreadableImage, match="Security limit exceeded"):
        read_rgb(claiming(64))


@needs_heif
def test_a_folder_of_them_is_a_source(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "photo.heic"
        file.write_bytes(heic(Image.fromarray(pixels(3, 40, 64)), 6))
    dataset = read_source(Data(source="folder", path=tmp_path))
    assert dataset.keys == ["a/photo.heic", "b/photo.heic"] and not dataset.unused
    (header, _) = read_headers(dataset, SilentEvents())
    assert header is not None and (header.format, header.width, header.height) == ("HEIF", 40, 64)
