"""A machine that cannot do what is asked: a full disk, a package that is missing."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from project import HAS_RTX, Done, Project

FULL = ("No space is left on this disk", "Free some space", "--runs")


def refused(done: Done, *told: str) -> None:
    assert done.code == 4, done.told
    assert "Traceback" not in done.err and "Exception ignored" not in done.err, done.err
    for words in told:
        assert words in done.err, f"{words!r} is not in:\n{done.err}"


def files_at_most(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize(
    ("command", "stage", "kept", "size"),
    [
        ("distill", "prepare", (), 100_000),
        ("distill", "distill", ("prepare", "train_teacher", "score_views"), 20_000),
        pytest.param(
            "export",
            "export/student-fp32",
            ("prepare", "train_teacher", "score_views", "distill", "quantize"),
            50_000,
            marks=pytest.mark.slow,
        ),
        (
            "gate",
            "gate/cpu",
            ("prepare", "train_teacher", "score_views", "distill", "quantize", "export", "build"),
            100,
        ),
    ],
)
def test_a_full_disk(
    partial_project: Callable[..., Project],
    command: str,
    stage: str,
    kept: tuple[str, ...],
    size: int,
) -> None:
    project = partial_project(*kept, *(("measure",) if command == "gate" else ()))
    before = project.content() if kept else {}
    precision = ("--set", "targets.cpu.precisions=[fp32]") if command == "export" else ()
    targets = () if command == "distill" else ("--target", "cpu")
    done = project.run(command, *targets, *precision, preexec_fn=files_at_most(size))
    refused(done, *FULL)
    assert not (project.run_folder / stage).exists()
    assert project.drafts() == []
    assert before.items() <= project.content().items()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a file system")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_too_small_for_the_images(fresh_project: Project, small_disk: Path) -> None:
    done = fresh_project.run("distill", "--runs", str(small_disk), "--set", "data.image_size=64")
    refused(
        done, "Preparing 162 images of 64 x 64 pixels takes", str(small_disk), "Free some space"
    )
    assert not list(small_disk.rglob("*.npy"))


def test_a_disk_that_fills_up(partial_project: Callable[..., Project], small_disk: Path) -> None:
    project = partial_project("prepare")
    shutil.copytree(project.run_folder, small_disk / "small")
    done = project.run("distill", "--runs", str(small_disk))
    refused(done, *FULL)
    left = {path.name for path in (small_disk / "small").iterdir()}
    assert left - {"checkpoints"} == {".lock", "prepare"}
    assert not list(small_disk.rglob("*draft*")), "half a file was left behind"


BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def without(package: str, folder: Path) -> dict[str, str]:
    """The environment of a process in which `package` cannot be imported."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(BLOCKER.format(package=package))
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


RTX = pytest.mark.skipif(not HAS_RTX, reason="there is no target for it in the recipe")


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("torch", ["distill", "--force"], "train"),
        pytest.param("timm", ["distill", "--force"], "train", marks=pytest.mark.slow),
        ("onnx", ["export", "--force", "--target", "cpu"], "train"),
        ("jinja2", ["report", "--force"], "train"),
        ("onnxruntime", ["validate", "--force", "--target", "cpu"], "onnxruntime"),
        pytest.param(
            "tensorrt_rtx", ["export", "--force", "--target", "rtx-ada"], "tensorrt-rtx", marks=RTX
        ),
        ("elpv_dataset", ["distill", "--set", "data={source: elpv}"], "demo"),
        ("pyarrow", ["distill", "--set", "data={source: parquet, path: x.parquet}"], "train"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_missing_extra(
    project: Project, tmp_path: Path, package: str, arguments: list[str], extra: str
) -> None:
    (project.folder / "x.parquet").write_bytes(b"PAR1")
    before = project.content()
    done = project.run(*arguments, environment=without(package, tmp_path / "blocker"))
    refused(done, "which is not installed", f"pip install 'tmkd-deploy[{extra}]'")
    assert project.content() == before
    assert project.drafts() == []


def test_a_bundle_without_its_runtime(project: Project, tmp_path: Path) -> None:
    (bundle,) = (project.run_folder / "bundle" / "cpu").glob("*.tmkd")
    environment = without("onnxruntime", tmp_path / "blocker")
    done = project.run("bundle", "run", str(bundle), "x.png", environment=environment)
    refused(done, "onnxruntime", "pip install 'tmkd-deploy[onnxruntime]'")
    done = project.run("bundle", "verify", str(bundle), environment=environment)
    assert done.code == 0, done.told
    assert "Warning: " in done.out
