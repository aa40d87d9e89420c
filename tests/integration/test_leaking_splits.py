"""Official splits that repeat images: the figures are splendid, and the verdict is not green."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from project import Project, new_project
from striped_images import write_folder

COPIES = 6  # of 42 test images
# the figures do not matter, as long as they are within the budgets
SHORT = (
    *("--set", "teacher.visual.epochs=1", "--set", "distill.weak_teacher=warn"),
    *("--set", "distill.epochs=1", "--set", "distill.baseline=false"),
    *("--set", "targets.cpu.budgets.accuracy=0.01"),
)


@pytest.fixture
def leaking(tmp_path: Path) -> Project:
    """The small project, whose test split holds lighter, recompressed copies of training images."""
    images = tmp_path / "images"
    write_folder(images / "train", per_class=40, seed=1)
    write_folder(images / "test", per_class=14, seed=2)
    for number in range(COPIES):
        source = images / "train" / "across" / f"{number:03}.png"
        pixels = np.asarray(Image.open(source)).astype(np.float32)
        copy = Image.fromarray((0.96 * pixels + 6).clip(0, 255).astype(np.uint8))
        (images / "test" / "across" / f"{number:03}.png").unlink()
        copy.save(images / "test" / "across" / f"{number:03}.jpg", quality=92)
    return new_project(tmp_path / "project", images)


def test_budgets_met_on_repeated_images_are_not_judged(leaking: Project) -> None:
    done = leaking.run("run", "--target", "cpu", *SHORT)
    assert done.code == 3, done.told
    told = "6 test images of 42 (14.3 %) are nearly the same as a training or validation image"
    assert told in done.err
    assert "Verdict: – not judged" in done.out
    summary = json.loads((leaking.run_folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["outcome"] == "not_judged"
    assert told in summary["targets"]["cpu"]["verdict"]["not_judged"]
    # who knows better says so, and the verdict repeats it as a warning
    known = (*SHORT, "--set", "data.near_duplicates=ignore", "--json")
    done = leaking.run("gate", "--target", "cpu", *known)
    assert done.code == 0, done.told
    verdict = done.json()["stages"][-1]["record"]["verdict"]
    assert verdict["outcome"] == "passed" and any(told in each for each in verdict["warnings"])
