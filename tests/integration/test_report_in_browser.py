"""The HTML report in a real, headless Chromium: what is loaded, how wide it gets, what is seen."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from report_fixture import cpu_target, run_report

from tmkd_deploy.report.html import Html

BINARIES = ("chromium", "chromium-browser", "google-chrome")
PHONE, DESKTOP = 390, 1200
DARK = "--blink-settings=preferredColorScheme=0"

# Loads the untouched report into a frame of the given width and writes down what became of it.
PROBE = """<!DOCTYPE html><body style="margin:0">
<iframe style="border:0;width:{width}px;height:800px" srcdoc="{page}"></iframe>
<script>
const frame = document.querySelector("iframe");
frame.onload = () => {{
  const page = frame.contentDocument, root = page.documentElement;
  const style = (selector, name) =>
    frame.contentWindow.getComputedStyle(page.querySelector(selector))[name];
  const inOwnBox = element => element.closest(".scroll, pre, svg");
  page.querySelectorAll("details").forEach(each => each.open = true);
  const found = {{
    headings: [...page.querySelectorAll("h1, h2")].map(each => each.innerText),
    invisible: [...page.querySelectorAll("h1, h2, h3, table, svg, img")]
      .filter(each => each.getBoundingClientRect().height < 5).map(each => each.outerHTML),
    scrollWidth: root.scrollWidth,
    sticking: [...page.querySelectorAll("body *")].filter(each => !inOwnBox(each)
      && each.getBoundingClientRect().right > {width} + 0.5).map(each => each.outerHTML),
    brokenImages: [...page.images].filter(each => !each.naturalWidth).length,
    images: page.images.length,
    scripts: page.scripts.length,
    loaded: frame.contentWindow.performance.getEntriesByType("resource")
      .map(each => each.name).filter(name => !name.startsWith("data:")),
    paper: style("body", "backgroundColor"),
    ink: style("body", "color"),
    card: style(".card", "backgroundColor"),
    title: page.title,
  }};
  document.body.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = JSON.stringify(found);
}};
</script>"""

Browser = Callable[..., str]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """Runs the browser with further arguments and returns its standard output."""
    binary = next(filter(None, map(shutil.which, BINARIES)), None)
    if binary is None:
        pytest.skip(f"None of {', '.join(BINARIES)} is installed.")
    profile = tmp_path_factory.mktemp("profile")

    def run(*arguments: str) -> str:
        command = [
            binary,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
            *arguments,
        ]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=300
        ).stdout

    return run


@pytest.fixture(scope="module")
def page() -> str:
    return Html().render(run_report())


def look(browser: Browser, folder: Path, page: str, width: int, *arguments: str) -> dict[str, Any]:
    """What the browser finds of `page` in a window `width` CSS pixels wide."""
    probe = folder / "probe.html"
    probe.write_text(PROBE.format(width=width, page=html.escape(page)), encoding="utf-8")
    dump = browser(*arguments, f"--window-size={width + 200},900", "--dump-dom", probe.as_uri())
    found = re.search(r'<pre id="found">(.*)</pre>', dump, re.DOTALL)
    assert found is not None, "the page was not loaded"
    result: dict[str, Any] = json.loads(html.unescape(found[1]))
    return result


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_page_shows_itself_without_loading_anything(
    browser: Browser, tmp_path: Path, page: str, width: int
) -> None:
    found = look(browser, tmp_path, page, width)
    assert found["headings"][:3] == [
        "quickstart",
        "Verdict",
        "Teacher, student and selected engine",
    ]
    assert len(found["headings"]) == 11
    assert found["invisible"] == []
    assert found["loaded"] == []
    assert (found["images"], found["brokenImages"]) == (18, 0)


@pytest.mark.parametrize("width", [320, PHONE, DESKTOP])
def test_nothing_sticks_out_sideways(
    browser: Browser, tmp_path: Path, page: str, width: int
) -> None:
    found = look(browser, tmp_path, page, width)
    assert found["sticking"] == []
    assert found["scrollWidth"] == width


def test_long_names_do_not_stick_out_either(browser: Browser, tmp_path: Path) -> None:
    names = ["functional" * 12, "defective" * 12]
    report = dataclasses.replace(
        run_report(cpu_target(names), class_names=names),
        name="q" * 64,
        machine={"k" * 80: "v" * 200},
    )
    found = look(browser, tmp_path, Html().render(report), PHONE)
    assert found["sticking"] == []
    assert found["scrollWidth"] == PHONE


def test_the_dark_page_is_dark_and_its_charts_stay_on_white(
    browser: Browser, tmp_path: Path, page: str
) -> None:
    light, dark = look(browser, tmp_path, page, PHONE), look(browser, tmp_path, page, PHONE, DARK)
    assert brightness(light["paper"]) > 240
    assert brightness(light["ink"]) < 60
    assert brightness(dark["paper"]) < 60
    assert brightness(dark["ink"]) > 200
    assert light["card"] == dark["card"] == "rgb(255, 255, 255)"


def brightness(colour: str) -> float:
    channels = [int(channel) for channel in re.findall(r"\d+", colour)]
    return sum(channels) / len(channels)


def test_hostile_names_neither_run_nor_load(browser: Browser, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        names = [
            "<script>document.title='owned'</script>",
            f'"><img src={address}/x onerror="document.title=\'owned\'">',
        ]
        report = dataclasses.replace(
            run_report(cpu_target(names), class_names=names),
            name=f"</title></style><link rel=stylesheet href={address}/x.css>",
            notes=[f"<style>@import url({address}/y.css)</style>"],
        )
        found = look(browser, tmp_path, Html().render(report), PHONE)
        with pytest.raises(TimeoutError):
            server.accept()
    assert found["title"].startswith("</title></style><link rel=stylesheet")
    assert (found["scripts"], found["images"], found["loaded"]) == (0, 18, [])


@pytest.mark.parametrize(("arguments", "paper"), [([], 251), ([DARK], 20)])
def test_a_screenshot_shows_a_page_with_something_on_it(
    browser: Browser, tmp_path: Path, page: str, arguments: list[str], paper: int
) -> None:
    file, picture = tmp_path / "report.html", tmp_path / "report.png"
    file.write_text(page, encoding="utf-8")
    browser(*arguments, f"--window-size={DESKTOP},900", f"--screenshot={picture}", file.as_uri())
    with Image.open(picture) as image:
        pixels = image.convert("RGB")
    assert pixels.size[0] == DESKTOP
    first = pixels.getpixel((2, 2))
    assert isinstance(first, tuple)
    assert first[0] == paper
    colours = pixels.getcolors(maxcolors=pixels.width * pixels.height)
    assert colours is not None
    assert len(colours) > 50
