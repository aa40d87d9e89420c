"""Photograph the top of a run's report for the README. Needs Chromium and Pillow.

python docs/make_front_picture.py runs/quickstart/report.html
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

PICTURE = Path(__file__).parent / "assets" / "report.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MAX_BYTES = 200_000


def main() -> None:
    """Parse the command line, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("report", type=Path, help="a run's report.html")
    parser.add_argument("--output", type=Path, default=PICTURE)
    parser.add_argument("--width", type=int, default=1000, help="in CSS pixels")
    parser.add_argument("--height", type=int, default=760, help="how much of the top to show")
    parser.add_argument("--scale", type=float, default=1.5, help="device pixels per CSS pixel")
    chosen = parser.parse_args()
    picture = compressed(photograph(chosen.report, chosen.width, chosen.height, chosen.scale))
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_bytes(picture)
    print(f"Wrote {chosen.output} ({len(picture) / 1000:.0f} kB).")


def photograph(report: Path, width: int, height: int, scale: float) -> Image.Image:
    """The top of `report` as headless Chromium shows it, in light mode."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"Chromium is needed: none of {', '.join(BROWSERS)} is installed.")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "report.png"
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
            f"--user-data-dir={folder}/profile",
            f"--force-device-scale-factor={scale}",
            f"--window-size={width},{height}",
            f"--screenshot={shot}",
            report.resolve(strict=True).as_uri(),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        with Image.open(shot) as image:
            return image.convert("RGB")


def compressed(image: Image.Image) -> bytes:
    """`image` as a PNG of at most 200 kB: with as many colours as fit, then smaller."""
    while True:
        for colours in (256, 128, 64):
            stream = io.BytesIO()
            few = image.quantize(colours, dither=Image.Dither.NONE)
            few.save(stream, "PNG", optimize=True)
            if stream.tell() <= MAX_BYTES:
                return stream.getvalue()
        image = image.resize((image.width * 4 // 5, image.height * 4 // 5))


if __name__ == "__main__":
    main()
