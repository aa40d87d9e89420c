"""tmkd-classify: what it prints and how it ends."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from colour_bundle import COLOURS, packed, solid, with_manifest
from cpp_build import ENVIRONMENT, Built
from format_versions import PLAN, as_version, with_engines
from PIL import Image

from tmkd_deploy.errors import ExitCode
from tmkd_deploy.runtime import load
from tmkd_deploy.runtime.decision import Decision


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    errors: str


@pytest.fixture
def classify(built: Built):
    def run(*arguments: object, given: bytes = b"") -> Done:
        command = [str(built.classify), *map(str, arguments)]
        done = subprocess.run(
            command, input=given, capture_output=True, check=False, env=ENVIRONMENT, timeout=60
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A green picture, larger than the engine's input."""
    path = tmp_path / "green.ppm"
    Image.fromarray(solid("green", side=20)).save(path)
    return path


def test_an_image_file_gets_a_line(classify, bundle: Path, image: Path) -> None:
    done = classify(bundle, image)
    expected = load(bundle).predict(image)
    assert done == Done(0, f"{image}: green ({100 * expected.confidence:.1f} %)\n", "")


def test_json_has_what_the_python_command_prints(classify, bundle: Path, image: Path) -> None:
    done = classify(bundle, image, "--json", "--threads", 1)
    found, expected = json.loads(done.out), load(bundle).predict(image)
    assert (found["image"], found["label"], found["index"]) == (str(image), "green", 1)
    assert found["confidence"] == pytest.approx(expected.confidence, abs=1e-12)
    assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-12)


def test_the_most_probable_classes_come_first(classify, bundle: Path, image: Path) -> None:
    first, *classes = classify(bundle, image, "--top", 2).out.splitlines()
    assert first.startswith(f"{image}: green")
    assert len(classes) == 2
    assert classes[0].split()[-1] == "green"
    found = json.loads(classify(bundle, image, "--top", 2, "--json").out)
    assert next(iter(found["probabilities"])) == "green" and len(found["probabilities"]) == 2


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_netpbm_image_of_standard_input(classify, bundle: Path, mode: str, image: Path) -> None:
    with Image.open(image) as opened:
        converted = opened.convert(mode)
    converted.save(image)
    raw = image.read_bytes().replace(b"\n", b"\n# a comment\n", 1)
    found = json.loads(classify(bundle, "-", "--json", given=raw).out)
    expected = load(bundle).predict(np.asarray(converted))
    assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-12)


def test_frames_of_standard_input(classify, bundle: Path) -> None:
    frames = [np.resize(solid(colour), (6, 10, 3)) for colour in COLOURS]
    given = b"".join(frame.tobytes() for frame in frames)
    done = classify(bundle, "-", "--frame", "10x6", given=given)
    labels = [line.split()[3] for line in done.out.splitlines()]
    assert (done.code, labels) == (0, COLOURS)
    short = classify(bundle, "-", "--frame", "10x6", given=given[:-1])
    assert short.code == ExitCode.DATA
    assert len(short.out.splitlines()) == 2
    assert "The last frame has 179 bytes instead of 180." in short.errors


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "It is not a binary PPM or PGM image."),
        (b"P3 1 1 255 1 2 3", "It is not a binary PPM or PGM image."),
        (b"P6 2 2 255\n" + bytes(11), "its pixels end early"),
        (b"P6 2 2 65535\n" + bytes(24), "highest value is not 255"),
        (b"P6 0 2 255\n", "no pixels"),
        (b"P6 -2 2 255\n", "header is damaged"),
        (b"P6 99999999999 2 255\n", "header is damaged"),
        (b"P6 99999 99999 255\n", "more than the allowed 67,108,864 pixels"),
        (b"P6 67108864 1 255\n" + bytes(9), "its pixels end early"),
        (b"P6 300 1 255\n" + bytes(900), "one side may be at most 100 times the other"),
        (b"P6 # an endless comment", "header is damaged"),
    ],
)
def test_an_unusable_image_is_named_and_the_others_are_classified(
    classify, bundle: Path, image: Path, tmp_path: Path, content: bytes, says: str
) -> None:
    bad = tmp_path / "bad\x1b[31m.ppm"
    bad.write_bytes(content)
    done = classify(bundle, bad, image, tmp_path / "absent.ppm")
    assert done.code == ExitCode.DATA
    assert done.out.startswith(f"{image}: green")
    first, second = done.errors.splitlines()
    assert says in first and "\x1b" not in first
    assert "absent.ppm cannot be used. It cannot be read." in second
    lines = classify(bundle, bad, image, "--json").out.splitlines()
    assert says in json.loads(lines[0])["error"] and json.loads(lines[1])["label"] == "green"


def test_verification_says_what_it_found(classify, bundle: Path) -> None:
    done = classify(bundle, "--verify")
    assert done.code == 0
    assert "pixels of the built-in pictures differ by at most " in done.out
    assert "The 3 golden images produce the recorded classes" in done.out
    found = json.loads(classify(bundle, "--verify", "--json").out)
    assert found["golden_images"] == 3 and found["largest_difference"] <= found["tolerance"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "A bundle is missing."),
        (["x.tmkd"], "An image is missing."),
        (["x.tmkd", "y", "--top"], "--top takes a value."),
        (["x.tmkd", "y", "--top", "0"], "--top takes a whole number from 1 to 1000000."),
        (["x.tmkd", "y", "--threads", "257"], "--threads takes a whole number from 1 to 256."),
        (["x.tmkd", "y", "--frame", "640"], "--frame takes WIDTHxHEIGHT"),
        (["x.tmkd", "y", "--frame", "0x4"], "--frame takes a whole number"),
        (["x.tmkd", "y", "--loud"], "There is no option --loud."),
    ],
)
def test_a_wrong_request(classify, arguments: list[str], says: str) -> None:
    done = classify(*arguments)
    assert (done.code, done.out) == (ExitCode.REQUEST, "")
    assert done.errors.startswith("Error: ") and says in done.errors
    assert len(done.errors.splitlines()) == 1


def test_help(classify) -> None:
    assert classify("--help").out.startswith("Usage: tmkd-classify BUNDLE")


def test_a_broken_bundle_and_one_for_another_machine(classify, bundle: Path, image: Path) -> None:
    with_engines(as_version(bundle, 3), [{"target": "gpu", **PLAN}])
    done = classify(bundle, image)
    assert done.code == ExitCode.ENVIRONMENT
    assert "gpu: this program was built without TensorRT" in done.errors
    bundle.write_bytes(b"none")
    done = classify(bundle, image)
    assert (done.code, done.out) == (ExitCode.DATA, "")
    assert done.errors.startswith(
        f"Error: {bundle}: The bundle cannot be used: it is not a complete"
    )


def test_a_guarded_class_follows_its_threshold(classify, built: Built, tmp_path: Path) -> None:
    path, _ = packed(tmp_path / "guarded", decision=Decision(2, 1e-5))
    pixels = solid("red")
    pixels[:, :, 2] = 60
    image = tmp_path / "reddish.ppm"
    Image.fromarray(pixels).save(image)
    expected = load(path).predict(image)
    assert expected.label == "blue" and expected.confidence < 0.5
    assert classify(path, image).out.startswith(f"{image}: blue (")
    with_manifest(as_version(path, 2), lambda whole: whole["decision"].update(threshold=0.9))
    assert json.loads(classify(path, image, "--json").out)["label"] == "red"
    assert built.verdicts_on_files("read", [path])[0].startswith("ok ")
