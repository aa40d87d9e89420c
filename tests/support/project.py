"""A project folder with a small recipe, and the command line at work in it."""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "tmkd_deploy"]
HAS_RTX = importlib.util.find_spec("tensorrt_rtx") is not None
TARGETS = ("cpu", "rtx-ada", "jetson-orin-nano") if HAS_RTX else ("cpu", "jetson-orin-nano")

RTX = """
  - target: rtx-ada
    precisions: [int8]
    budgets: {engine_size_mb: 50}"""

RECIPE = """\
name: small
threads: 1
data: {source: folder, train: IMAGES/train, test: IMAGES/test, image_size: 32}
teacher:
  visual: {model: test_resnet, weights: none, epochs: 8, batch_size: 16, learning_rate: 0.004}
  text: {epochs: 1, batch_size: 16}
student:
  model: resnet10t
  model_kwargs: {channels: [8, 8, 16, 16], stem_width: 8}
distill: {epochs: 8, batch_size: 16, learning_rate: 0.004, cached_augmentations: 1}
quantize: {epochs: 1, calibration: {images: 32}}
export: {parity_images: 8}
measure: {threads: 1, min_runs: 40, min_seconds: 0.2, warmup_seconds: 0.1}
targets:
  - target: cpu
    budgets: {accuracy: 0.6, engine_size_mb: 5}RTX
  - target: jetson
    precisions: [int8]
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> str:
        """Both streams, for the messages of failed assertions."""
        return f"exit code {self.code}\n{self.out}\n{self.err}"

    def json(self) -> Any:
        """The one JSON object on standard output; anything beside it is an error."""
        return json.loads(self.out)

    def reused(self) -> dict[str, bool]:
        """With --json: whether each stage was reused, under `stage` or `stage target`."""
        return {
            f"{stage['stage']} {stage['target'] or ''}".strip(): stage["reused"]
            for stage in self.json()["stages"]
        }


@dataclass(frozen=True)
class Project:
    """A folder with a `recipe.yaml`, where commands are run."""

    folder: Path

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"

    @property
    def run_folder(self) -> Path:
        return self.folder / "runs" / "small"

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """A command under way, in a process group of its own."""
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )

    def run(
        self, *arguments: str, environment: Mapping[str, str] | None = None, **options: Any
    ) -> Done:
        """A command, awaited.

        It runs in a fork of a Python that has imported torch and the like, which saves seconds;
        with an environment or options of its own, in a new one.
        """
        if not environment and not options and sys.platform == "linux":
            return _run_warm(self, arguments)
        merged = {**os.environ, **(environment or {})}
        process = self.start(*arguments, env=merged, **options)
        out, err = process.communicate(timeout=500)
        return Done(process.returncode, out, err)

    def replace(self, old: str, new: str) -> None:
        """Edit the recipe; what is replaced must be there."""
        text = self.recipe.read_text(encoding="utf-8")
        assert old in text
        self.recipe.write_text(text.replace(old, new, 1), encoding="utf-8")

    def content(self) -> dict[str, str]:
        """A hash of every file in the run folder, but for the lock."""
        return {
            path.relative_to(self.run_folder).as_posix(): hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
            for path in sorted(self.run_folder.rglob("*"))
            if path.is_file() and path.name != ".lock"
        }

    def drafts(self) -> list[Path]:
        """What unfinished stages left behind."""
        return list(self.run_folder.rglob(".*-draft-*"))

    def manifest(self, stage: str) -> Any:
        """What the artifact of `stage` (such as `build/cpu`) says of itself."""
        return json.loads((self.run_folder / stage / "manifest.json").read_text(encoding="utf-8"))

    def copy_to(self, folder: Path) -> Project:
        """The same project, its runs included, elsewhere."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True, symlinks=True)
        return Project(folder)


_warm: list[Any] = []  # the one `commands.Warm` of this process, once it was needed
_one_at_a_time = threading.Lock()


def warm_python() -> Any:
    """The one warm Python of this process, a `commands.Warm`."""
    if not _warm:
        _warm.append(_new_warm())
    return _warm[0]


def _run_warm(project: Project, arguments: Sequence[str]) -> Done:
    with _one_at_a_time:
        try:
            ended = warm_python().run(project, *arguments, environment=dict(os.environ))
        except BaseException:
            _warm.pop().kill()  # it may still be busy
            raise
    return Done(ended.code, ended.out, ended.err)


def _new_warm() -> Any:
    from commands import Warm

    folder = Path(tempfile.mkdtemp(prefix="warm-python-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = Warm(folder)
    atexit.register(made.kill)
    return made


def new_project(folder: Path, images: Path) -> Project:
    """A project on `images`, which holds `train` and `test`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = RECIPE.replace("IMAGES", str(images)).replace("RTX", RTX if HAS_RTX else "")
    project = Project(folder)
    project.recipe.write_text(text, encoding="utf-8")
    return project
