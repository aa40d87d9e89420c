"""The bundle of `cpu` where nothing is installed but this package and ONNX Runtime."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_blocks import blocks

ROOT = Path(__file__).parents[2]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, cwd=cwd, env=CLEAN
    )


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new virtual environment with `tmkd-deploy[onnxruntime]`."""
    place = tmp_path_factory.mktemp("fresh")
    venv = (sys.executable, "-m", "venv", "--without-pip", place / "venv")
    subprocess.run(venv, check=True, env=CLEAN)
    programs = place / "venv" / "bin"
    pip = (sys.executable, "-m", "pip", "--python", programs / "python", "install", "--quiet")
    pip += ("--disable-pip-version-check", "--no-compile")
    index = run(*pip, "onnxruntime", "setuptools>=77", cwd=place)
    if index.returncode != 0:
        pytest.skip(f"pip reaches no index: {index.stderr.strip().splitlines()[-1]}")
    # A copy, because building leaves folders behind.
    source = place / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tmkd_deploy", source / "tmkd_deploy", ignore=ignored)
    installed = run(*pip, "--no-build-isolation", f"{source}[onnxruntime]", cwd=place)
    assert installed.returncode == 0, installed.stderr
    shutil.rmtree(source)
    return programs


@pytest.fixture
def shelf(complete, images: Path, tmp_path: Path) -> Path:
    """A folder with the bundle and one image of the class `down`, under the names of the docs."""
    (bundle,) = (complete[0].run_folder / "bundle" / "cpu").glob("*.tmkd")
    for name in ("my-model-cpu.tmkd", "quickstart-cpu.tmkd"):
        shutil.copy(bundle, tmp_path / name)
    for name in ("part.png", "cell.png"):
        shutil.copy(images / "test" / "down" / "003.png", tmp_path / name)
    return tmp_path


def test_no_torch_is_there(fresh: Path, shelf: Path) -> None:
    heavy = ("torch", "timm", "onnx", "open_clip", "matplotlib", "pyarrow")
    program = f"import importlib.util as u; print([n for n in {heavy!r} if u.find_spec(n)])"
    assert run(fresh / "python", "-c", program, cwd=shelf).stdout == "[]\n"


def test_the_command_line_verifies_and_runs_it(fresh: Path, shelf: Path) -> None:
    command = fresh / "tmkd-deploy"
    done = run(command, "bundle", "verify", "my-model-cpu.tmkd", cwd=shelf)
    assert done.returncode == 0, done.stderr
    assert "is valid" in done.stdout
    assert "Warning" not in done.stdout
    done = run(command, "bundle", "run", "my-model-cpu.tmkd", "part.png", "--json", cwd=shelf)
    assert done.returncode == 0, done.stderr
    (prediction,) = map(json.loads, done.stdout.splitlines())
    assert prediction["label"] == "down"
    assert 0 < prediction["confidence"] <= 1


def test_the_command_line_evaluates_and_shows_it(fresh: Path, shelf: Path, images: Path) -> None:
    command, labelled = fresh / "tmkd-deploy", images / "test"
    given = ("my-model-cpu.tmkd", labelled, "--csv", "rows.csv", "--json")
    done = run(command, "bundle", "evaluate", *given, cwd=shelf)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["images"] == 42 and sum(map(sum, found["confusion"])) == 42
    low, high = found["top1_interval"]
    assert 0.5 < low < found["top1"] <= high
    assert len((shelf / "rows.csv").read_text(encoding="utf-8").splitlines()) == 43
    for arguments in (("evaluate", "my-model-cpu.tmkd", labelled), ("show", "my-model-cpu.tmkd")):
        done = run(command, "bundle", *arguments, cwd=shelf)
        assert done.returncode == 0, done.stderr
        assert "small" in done.stdout and "FP32 with ONNX Runtime for cpu" in done.stdout


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/application.md"])
def test_the_lines_of_python_in_the_documentation_run_it(
    fresh: Path, shelf: Path, page: str
) -> None:
    (block,) = blocks(ROOT / page, "python")
    assert len(block.text.splitlines()) <= 6
    done = run(fresh / "python", "-c", block.text, cwd=shelf)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "down"


def test_a_stage_that_needs_more_says_what_to_install(
    fresh: Path, shelf: Path, fresh_project
) -> None:
    done = run(fresh / "tmkd-deploy", "distill", cwd=fresh_project.folder)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "pip install 'tmkd-deploy[train]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_judging_and_checking_need_no_more(fresh: Path, project) -> None:
    for arguments in (
        ["recipe", "check"],
        ["targets", "list"],
        ["gate", "--only", "--target", "cpu"],
        ["compare", "runs/small", "runs/small"],
    ):
        done = run(fresh / "tmkd-deploy", *arguments, cwd=project.folder)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
