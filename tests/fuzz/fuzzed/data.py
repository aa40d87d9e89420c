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


@functools.cache
def png_images() -> list[bytes]:
    import numpy as np
    from PIL import Image

    encoded = []
    for seed in range(4):
        pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        encoded.append(stream.getvalue())
    return encoded
