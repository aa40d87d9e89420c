"""The C++ runtime in an application of its own, with TensorRT, and under the sanitizers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from colour_bundle import COLOURS, solid
from cpp_build import SOURCE, Built, build, require_compiler, run
from format_versions import as_version
from hostile_bundles import copies
from markdown_blocks import blocks
from PIL import Image
from resizing import preprocessed, random_requests

PAGE = SOURCE.parents[1] / "docs" / "how-to" / "embed.md"
TENSORRT = "TMKD_TENSORRT_HEADERS"  # folders of headers, one for each release, separated as PATH is
RELEASES = [Path(each) for each in os.environ.get(TENSORRT, "").split(os.pathsep) if each]
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")


def test_every_command_on_the_page_works(built: Built, bundle: Path, tmp_path: Path) -> None:
    """Only the library is not built again: the tests' own build takes the place of the page's."""
    folder = tmp_path / "clone"
    folder.mkdir()
    (folder / "runtime").symlink_to(SOURCE.parent)
    (folder / "build").symlink_to(built.folder / "tmkd")
    (folder / "quickstart-cpu.tmkd").symlink_to(bundle)
    Image.fromarray(solid("green")).save(folder / "cell.ppm")
    frames = [np.resize(solid(colour), (480, 640, 3)) for colour in COLOURS]
    (folder / "frames.rgb").write_bytes(b"".join(frame.tobytes() for frame in frames))
    configure, compile_it, *commands = (
        command for block in blocks(PAGE, "console") for command in block.commands()
    )
    assert configure.startswith("cmake -S runtime/cpp -B build ")
    assert compile_it == "cmake --build build"
    told = {command: run(["bash", "-c", command], folder=folder).decode() for command in commands}
    shown = {command: text.splitlines() for command, text in told.items() if "cmake" not in command}
    top, as_json, verified, of_frames, loop = shown.values()
    assert top[0].startswith("cell.ppm: green (") and len(top) == 1 + len(COLOURS)
    assert json.loads(as_json[0])["label"] == "green"
    assert "The 3 golden images produce the recorded classes" in verified[-1]
    assert [line.split()[3] for line in of_frames] == COLOURS
    assert [line.split()[0] for line in loop[:-1]] == COLOURS
    assert loop[-1].startswith("3 frames; latency in ms: p50 ")
    refused = subprocess.run(
        [folder / "build-loop" / "camera_loop", "absent.tmkd", "1", "1"],
        capture_output=True,
        check=False,
    )
    assert (refused.returncode, refused.stdout) == (5, b"")
    assert b"absent.tmkd: The bundle cannot be read" in refused.stderr
    assert run([folder / "installed" / "bin" / "tmkd-classify", "--help"]).startswith(b"Usage: ")


def test_the_programs_on_the_page_compile(built: Built, tmp_path: Path) -> None:
    programs = blocks(PAGE, "cpp")
    assert programs
    for number, program in enumerate(programs):
        source = tmp_path / f"{number}.cpp"
        source.write_text(program.text, encoding="utf-8")
        run(["c++", "-std=c++17", "-fsyntax-only", *WARNINGS, f"-I{SOURCE}/include", source])


def test_the_options_on_the_page_exist() -> None:
    text = PAGE.read_text(encoding="utf-8")
    listed = (SOURCE / "CMakeLists.txt").read_text(encoding="utf-8")
    options = set(re.findall(r"(?:-D|`)((?:TMKD_|ONNXRUNTIME_|TENSORRT_|CUDA_)[A-Z]+)", text))
    assert {"TMKD_TENSORRT", "ONNXRUNTIME_ROOT"} <= options
    for option in options:
        assert re.search(rf"^(option|set)\({option} ", listed, re.M), option


def cuda_headers() -> Path:
    """CUDA's headers, which some of this Python's packages bring."""
    named = os.environ.get("TMKD_CUDA_HEADERS")
    folders = (
        [Path(named)]
        if named
        else [
            found
            for path in map(Path, sys.path)
            for found in (
                *path.glob("triton/backends/nvidia/include"),
                *path.glob("nvidia/*/include"),
            )
        ]
    )
    for folder in folders:
        if (folder / "cuda_runtime_api.h").is_file() and (folder / "crt/host_defines.h").is_file():
            return folder
    pytest.skip("CUDA's headers are not here: set TMKD_CUDA_HEADERS to their folder")


@pytest.mark.parametrize("headers", RELEASES or [None])
def test_the_tensorrt_engine_compiles(headers: Path | None) -> None:
    require_compiler()
    if headers is None:
        pytest.skip(f"NVIDIA's headers are not here: set {TENSORRT} to their folders")
    command = ["c++", "-std=c++17", "-fsyntax-only", *WARNINGS, f"-I{SOURCE}/include"]
    system = ["-isystem", headers, "-isystem", cuda_headers()]
    run([*command, *system, SOURCE / "src" / "tensorrt_engine.cpp"])
    with_both = ["-DTMKD_WITH_TENSORRT", "-DTMKD_WITH_ONNXRUNTIME"]
    run([*command, *with_both, *system, SOURCE / "src" / "classifier.cpp"])


@pytest.mark.slow
@pytest.mark.timeout(2000)  # it builds everything again, which takes a minute on two free cores
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_sanitizers_find_nothing(bundle: Path, tmp_path: Path) -> None:
    """Memory errors and undefined behaviour end a program, which `run` would report."""
    sanitized = build(tmp_path / "sanitized", sanitize=True)
    sanitized.probe("layouts", str(bundle))
    sanitized.probe("misuse", str(bundle))
    assert len(preprocessed(sanitized, random_requests(300))) == 300
    as_version(bundle, 3)
    folder = tmp_path / "spoilt"
    folder.mkdir()
    sanitized.verdicts_on_files("load", list(copies(bundle, folder).values()))
    random = np.random.default_rng(1)
    whole, damaged = bundle.read_bytes(), []
    for number in range(2000):
        raw = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            raw[random.integers(len(raw))] = random.integers(256)
        damaged.append(folder / f"damaged-{number}.tmkd")
        damaged[-1].write_bytes(raw)
    sanitized.verdicts_on_files("load", damaged)
    texts = [bytes(random.integers(0, 256, random.integers(0, 200), np.uint8)) for _ in range(2000)]
    for what in ("onnx", "json", "sha256"):
        assert len(sanitized.verdicts_on_texts(what, texts)) == len(texts)
    for version in (3, 2, 1):  # the older ones lack what the newer ones have
        as_version(bundle, version)
        assert sanitized.verdicts_on_files("load", [bundle])[0].startswith("ok ")
