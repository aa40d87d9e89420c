"""Formats, colour modes and sizes, read from the headers of the encoded images."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass

from tmkd_deploy.data.samples import EncodedDataset
from tmkd_deploy.events import Events, track
from tmkd_deploy.records.data_check import ImageKinds
from tmkd_deploy.runtime.image import ORIENTATION, TURNED, open_image


@dataclass(frozen=True, slots=True)
class Header:
    """What an image file says of itself; width and height in pixels, as the image is shown."""

    format: str
    mode: str
    width: int
    height: int


def read_headers(dataset: EncodedDataset, events: Events) -> list[Header | None]:
    """The header of each image; None if it has none that can be read.

    Raises:
        DataError, OSError: the source itself cannot be read.
    """
    count = len(dataset.keys)
    images = track(events, range(count), "Reading headers", count, "images")
    return [_header(dataset.read(index)) for index in images]


def image_kinds(headers: list[Header | None]) -> ImageKinds:
    """The counts and sizes of all images with a header; there must be one."""
    known = [header for header in headers if header is not None]
    by_area = sorted(known, key=lambda header: header.width * header.height)
    return ImageKinds(
        formats=dict(Counter(header.format for header in known).most_common()),
        modes=dict(Counter(header.mode for header in known).most_common()),
        smallest=(by_area[0].width, by_area[0].height),
        median=(
            round(statistics.median(header.width for header in known)),
            round(statistics.median(header.height for header in known)),
        ),
        largest=(by_area[-1].width, by_area[-1].height),
        not_square=sum(header.width != header.height for header in known),
    )


def _header(encoded: bytes) -> Header | None:
    try:
        with open_image(encoded) as image:
            size = image.size
            # without this test, Pillow would decode a PNG to look behind its pixels
            if "exif" in image.info and image.getexif().get(ORIENTATION) in TURNED:
                size = size[::-1]
            return Header(str(image.format), image.mode, *size)
    except Exception:  # decoders raise almost anything on damaged files; decoding names them
        return None
