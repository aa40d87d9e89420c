"""Three data sets with the traps that real ones have: whatever is wrong is said, and not green."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from project import Done, Project

RECIPE = """\
name: small
threads: 1
data: {DATA, image_size: 32}
teacher:
  visual: {model: test_resnet, weights: none, epochs: 1, batch_size: 16, learning_rate: 0.004}
  text: {epochs: 1, batch_size: 16}
student: {model: resnet10t, model_kwargs: {channels: [8, 8, 16, 16], stem_width: 8}}
distill: {epochs: 1, batch_size: 16, learning_rate: 0.004, cached_augmentations: 1,
          baseline: false, weak_teacher: warn}
quantize: {enabled: false}
export: {parity_images: 8}
measure: {threads: 1, min_runs: 20, min_seconds: 0.1, warmup_seconds: 0.1}
targets:
  - target: cpu
    precisions: [fp32]
    budgets: BUDGETS
"""


def project_of(folder: Path, data: str, budgets: str) -> Project:
    text = RECIPE.replace("DATA", data).replace("BUDGETS", budgets)
    project = Project(folder)
    project.recipe.write_text(text, encoding="utf-8")
    return project


def found(folder: Path, done: Done) -> dict[str, str]:
    """The findings of `data check`, by their kind."""
    report = json.loads((folder / "data-check" / "data-check.json").read_text(encoding="utf-8"))
    return {each["kind"]: f"{each['problem']} {each['examples']}" for each in report["findings"]}


def digits(*wanted: int) -> dict[int, list[np.ndarray]]:
    """Scanned digits, uint8 [32, 32], by class."""
    data = pytest.importorskip("sklearn.datasets").load_digits()
    scans: dict[int, list[np.ndarray]] = {}
    for digit in wanted:
        small = (data.images[data.target == digit] * (255 / 16)).astype(np.uint8)
        scans[digit] = [
            np.asarray(Image.fromarray(each).resize((32, 32), Image.Resampling.BICUBIC))
            for each in small
        ]
    return scans


class TestTracks:
    """Six frames of each digit, as a camera that moves on would take them."""

    TRACKS, FRAMES = 12, 6

    @pytest.fixture
    def frames(self, tmp_path: Path) -> Path:
        random = np.random.default_rng(5)
        for digit, scans in digits(0, 1, 4).items():
            folder = tmp_path / "frames" / f"sign {digit}"
            folder.mkdir(parents=True)
            for track, scan in enumerate(scans[: self.TRACKS]):
                for frame in range(self.FRAMES):
                    seen = (scan * random.uniform(0.9, 1.0) + random.normal(0, 2, scan.shape)).clip(
                        0, 255
                    )
                    Image.fromarray(seen.astype(np.uint8)).save(
                        folder / f"{track:05}_{frame:05}.png"
                    )
        return tmp_path / "frames"

    def test_frames_dealt_out_at_random_are_no_test(self, tmp_path: Path, frames: Path) -> None:
        for path in sorted(frames.glob("*/*.png")):
            split = ("test", "train", "val")[int(path.stem[-1]) % 3]
            place = tmp_path / "dealt" / split / path.parent.name / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
        project = project_of(tmp_path, "source: folder, path: dealt", "{accuracy: 0.05}")
        done = project.run("data", "check", "dealt")
        assert done.code == 5 and "nearly the same as a training" in done.out
        done = project.run("run")
        assert done.code == 3, done.told
        assert "Verdict: – not judged" in done.out and "✓" not in done.out.split("Verdict:")[1]
        summary = json.loads((project.run_folder / "summary.json").read_text(encoding="utf-8"))
        assert summary["outcome"] == "not_judged"
        leak = "72 test images of 72 (100.0 %) are nearly the same as a training or validation"
        assert leak in summary["targets"]["cpu"]["verdict"]["not_judged"]
        # who knows better says so, and the verdict repeats it as a warning
        done = project.run("gate", "--set", "data.near_duplicates=ignore", "--json")
        assert done.code == 0, done.told
        assert done.reused()["distill"], "no split was drawn, so the models stay as they are"
        verdict = done.json()["stages"][-1]["record"]["verdict"]
        assert verdict["outcome"] == "passed" and any(leak in each for each in verdict["warnings"])

    def test_the_proposed_recipe_keeps_tracks_together(self, tmp_path: Path, frames: Path) -> None:
        project = Project(tmp_path)
        assert project.run("recipe", "init", "--data", "frames", "--name", "small").code == 0
        assert '"{group}/{group}_*"' in project.recipe.read_text(encoding="utf-8")
        grouped = 'source: folder, path: frames, group_by: "{group}/{group}_*"'
        project = project_of(tmp_path, grouped, "{}")
        done = project.run("data", "check", "recipe.yaml", "--quiet")
        assert done.code == 0, done.told
        kinds = found(tmp_path, done)
        assert "near_duplicates_across_splits" not in kinds and "near_duplicates" in kinds


class TestPhotographs:
    """Solar cells under `train` and `val`, in the formats that several people saved them in."""

    @pytest.fixture
    def project(self, tmp_path: Path) -> Project:
        package = pytest.importorskip("elpv_dataset")
        site = Path(package.__file__).parent / "data"
        rows = [line.split() for line in (site / "labels.csv").read_text().splitlines()]
        by_class = {
            name: [site / path for path, probability, *_ in rows if float(probability) == value]
            for name, value in (("good", 0.0), ("cracked", 1.0))
        }
        suffixes = ("png", "ppm", "bmp", "gif")
        for name, files in by_class.items():
            for number, file in enumerate(files[::7][:90]):
                folder = tmp_path / "cells" / ("val" if number % 3 == 0 else "train") / name
                folder.mkdir(parents=True, exist_ok=True)
                cell = Image.open(file).convert("L").resize((64, 64))
                suffix = "jpg" if name == "cracked" else suffixes[number % len(suffixes)]
                cell.save(folder / f"{number:03}.{suffix}")
        train = tmp_path / "cells" / "train"
        cell.save(tmp_path / "cells" / "loose.png")
        (train / "good" / "notes.txt").write_text("taken in March")
        (train / "good" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(16))
        (train / "good" / "broken.png").write_bytes((train / "good" / "004.png").read_bytes()[:200])
        return project_of(
            tmp_path, "source: folder, path: cells, max_corrupt_images: 9", "{accuracy: 0.55}"
        )

    def test_what_is_wrong_is_said_before_and_after(self, project: Project) -> None:
        done = project.run("data", "check", "cells")
        told = " ".join(done.out.split())
        for words in ("cracked", "loose.png", "notes.txt", "broken.png", "file format"):
            assert words in told, done.told
        kinds = found(project.folder, done)
        assert "shortcut" in kinds and "cracked" in kinds["shortcut"]
        done = project.run("run", "--json")
        summary = json.loads((project.run_folder / "summary.json").read_text(encoding="utf-8"))
        # 60 of each class to train on; `val` is the test split, and another val is drawn
        assert summary["data"]["test_images"] == 60
        assert summary["data"]["drawn_splits"] == ["val"]
        (target,) = summary["targets"].values()
        warned = " ".join(target["verdict"]["warnings"])
        assert "file format alone" in warned, summary["outcome"]


class TestLabels:
    """Two common classes and a rare one, and pictures that lie in two class folders."""

    @pytest.fixture
    def project(self, tmp_path: Path) -> Project:
        for digit, scans in digits(0, 1, 7).items():
            folder = tmp_path / "scans" / str(digit)
            folder.mkdir(parents=True)
            for number, scan in enumerate(scans[: 5 if digit == 7 else 100]):
                Image.fromarray(scan).save(folder / f"{number:03}.png")
        return project_of(
            tmp_path, "source: folder, path: scans", "{accuracy: 0.5, worst_class_recall: 0.5}"
        )

    def test_figures_on_pictures_of_two_classes_are_not_judged(self, project: Project) -> None:
        for number in range(6):
            name = f"{number:03}.png"
            scans = project.folder / "scans"
            shutil.copy(scans / "0" / name, scans / "1" / f"also {name}")
        done = project.run("data", "check", "scans", "--quiet")
        assert done.code == 5, done.told
        assert "12 images" in found(project.folder, done)["contradictory_labels"]
        low = "targets.cpu.budgets={accuracy: 0.05}"
        done = project.run("run", "--set", low)
        assert done.code == 3, done.told
        assert "Verdict: – not judged" in done.out
        summary = json.loads((project.run_folder / "summary.json").read_text(encoding="utf-8"))
        why = summary["targets"]["cpu"]["verdict"]["not_judged"]
        assert why.startswith("12 images with the same pixels as another one have another class")

    def test_a_class_that_nobody_could_judge_is_not_green(self, project: Project) -> None:
        done = project.run("data", "check", "scans", "--quiet")
        assert {"imbalance", "few_train_images", "few_test_images"} <= set(
            found(project.folder, done)
        )
        done = project.run("run")
        assert done.code in {1, 3}, done.told
        assert "worst_class_recall" in done.out
        summary = json.loads((project.run_folder / "summary.json").read_text(encoding="utf-8"))
        warned = " ".join(summary["targets"]["cpu"]["verdict"]["warnings"])
        assert "top-1 says little about '7'" in warned
