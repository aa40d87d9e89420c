"""What the targets on data sets share: small images, and the stage that reads them."""

from __future__ import annotations

import functools
import io
from pathlib import Path


def prepare_source(source: str, path: Path, folder: Path) -> None:
    from tmkd_deploy.data.prepare import prepare
    from tmkd_deploy.events import SilentEvents
    from tmkd_deploy.recipe.schema import Data

    out = folder / "out"
    out.mkdir()
    spec = Data(source=source, path=path, test_fraction=0.5, image_size=16, workers=1)  # type: ignore[arg-type]
    prepare(spec, out, SilentEvents())


def sound_folder() -> list[tuple[str, bytes]]:
    """The files of two classes of six images each."""
    return [(f"{'ab'[at % 2]}/{at // 2}.png", image) for at, image in enumerate(png_images())]


@functools.cache
def png_images() -> list[bytes]:
    """Twelve images, enough for two classes in three splits."""
    import numpy as np
    from PIL import Image

    encoded = []
    for seed in range(12):
        pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        encoded.append(stream.getvalue())
    return encoded
