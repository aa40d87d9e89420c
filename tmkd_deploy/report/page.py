"""What self-contained HTML pages share: the templates, and pictures as data URIs."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tmkd_deploy.errors import MissingExtra

LARGEST_SIDE = 160  # pixels


def template(name: str) -> Any:
    """The jinja2 template `name`, which escapes everything by default.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    try:
        import jinja2  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("The HTML report", "train", "jinja2") from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tmkd_deploy.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """A picture uint8 [H, W, 3] as the URI of a PNG with sides of at most `LARGEST_SIDE`."""
    image = Image.fromarray(pixels)
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
