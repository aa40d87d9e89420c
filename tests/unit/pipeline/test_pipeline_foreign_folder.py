"""A run folder that someone else made: sealed by them, with links, and with records of any kind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tmkd_deploy import artifacts, bounded_json
from tmkd_deploy.artifacts import Manifest, Record
from tmkd_deploy.errors import ArtifactError, DataError, EnvironmentProblem
from tmkd_deploy.pipeline.run_lock import only_process_in


class Score(Record):
    """A record whose value must be a number."""

    score: float


class Anything(Record):
    """A record of anything."""

    value: Any = None


def write(folder: Path, record: Record, name: str = "out.bin") -> Path:
    with artifacts.writing(folder, kind="stage", fingerprint="f", inputs={}) as draft:
        (draft.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (draft.folder / name).write_bytes(b"content")
        draft.record = record
    return folder


def reseal(folder: Path, **changes: Any) -> None:
    """Change a manifest as its maker could, with a seal that fits."""
    path = folder / artifacts.MANIFEST
    content = {**json.loads(path.read_text()), **changes}
    sealed = Manifest.model_validate(content)
    content["seal"] = sealed.expected_seal()
    path.write_text(json.dumps(content))


def refusal(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        artifacts.read(folder, "stage", Anything)
    assert caught.value.where == str(folder)
    return caught.value.problem


def test_what_was_written_is_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "run" / "stage", Anything(value=[1, 2.5, None]), "deep/er/out.bin")
    read = artifacts.read(folder, "stage", Anything)
    assert read.record.value == [1, 2.5, None]
    assert read.path("deep/er/out.bin").read_bytes() == b"content"


@pytest.mark.parametrize(
    "name", ["../out.bin", "/etc/passwd", "a/../out.bin", "./out.bin", "a//b", "", "a\x1b", "a\0"]
)
def test_a_resealed_manifest_names_files_within_the_folder_only(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "run" / "stage", Anything())
    (folder.parent / "out.bin").write_bytes(b"content")
    entry = json.loads((folder / artifacts.MANIFEST).read_text())["files"]["out.bin"]
    reseal(folder, files={name: entry})
    assert "not a path within it" in refusal(folder)


def test_links_in_an_artifact_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "run" / "stage", Anything(), "in/out.bin")
    (tmp_path / "elsewhere").mkdir()
    (folder / "in" / "out.bin").rename(tmp_path / "elsewhere" / "out.bin")
    (folder / "in" / "out.bin").symlink_to(tmp_path / "elsewhere" / "out.bin")
    assert "it is a link" in refusal(folder)
    (folder / "in" / "out.bin").unlink()
    (folder / "in").rmdir()
    (folder / "in").symlink_to(tmp_path / "elsewhere")
    assert "behind a link" in refusal(folder)


def test_a_pipe_in_an_artifact_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "run" / "stage", Anything())
    (folder / "out.bin").unlink()
    os.mkfifo(folder / "out.bin")
    assert "not a regular file" in refusal(folder)


def test_an_artifact_or_manifest_that_is_a_link_is_refused(tmp_path: Path) -> None:
    real = write(tmp_path / "other" / "stage", Anything())
    link = tmp_path / "stage"
    link.symlink_to(real)
    assert refusal(link) == "The artifact cannot be used: it is a link."
    (real / artifacts.MANIFEST).rename(tmp_path / "m.json")
    (real / artifacts.MANIFEST).symlink_to(tmp_path / "m.json")
    assert "its manifest cannot be read: it is a link" in refusal(real)


def test_a_link_in_place_of_an_artifact_is_replaced_and_what_it_leads_to_stays(
    tmp_path: Path,
) -> None:
    real = write(tmp_path / "other" / "stage", Anything(value="theirs"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stage").symlink_to(real)
    write(tmp_path / "run" / "stage", Anything(value="mine"))
    assert artifacts.read(tmp_path / "run" / "stage", "stage", Anything).record.value == "mine"
    assert artifacts.read(real, "stage", Anything).record.value == "theirs"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["stage"]


@pytest.mark.parametrize(
    "value",
    ["NaN", "Infinity", "-Infinity", "1e999", "[" * 900 + "]" * 900, "[" * 99_999 + "]" * 99_999],
    ids=["nan", "infinity", "-infinity", "overflow", "deep", "deeper"],
)
def test_numbers_are_finite_and_depth_is_bounded(tmp_path: Path, value: str) -> None:
    folder = write(tmp_path / "run" / "stage", Anything(value="HERE"))
    path = folder / artifacts.MANIFEST
    path.write_text(path.read_text().replace('"HERE"', value))
    assert "its manifest cannot be read" in refusal(folder)
    with pytest.raises(ValueError, match=r"finite|deeply"):
        bounded_json.parse_json(value.encode())


def test_the_size_of_a_manifest_is_bounded(tmp_path: Path, monkeypatch) -> None:
    folder = write(tmp_path / "run" / "stage", Anything(value="x" * 2000))
    monkeypatch.setattr(artifacts, "MANIFEST_BYTES_AT_MOST", 1000)
    assert "it is larger than 1,000 bytes" in refusal(folder)


def test_what_could_not_be_read_back_is_not_published(tmp_path: Path) -> None:
    write(tmp_path / "run" / "stage", Score(score=1.0))
    unchecked = Score.model_construct(score=float("nan"))
    with pytest.raises(DataError, match="cannot be right") as caught:
        write(tmp_path / "run" / "stage", unchecked)
    assert caught.value.where == "Score.score"
    assert artifacts.read(tmp_path / "run" / "stage", "stage", Score).record.score == 1.0
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["stage"]


def test_the_lock_is_no_way_to_another_file(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "run").mkdir()
    lock = tmp_path / "run" / ".lock"
    lock.symlink_to(victim)
    run = only_process_in(tmp_path / "run")
    with pytest.raises(EnvironmentProblem, match="lock") as caught, run:
        pass
    assert caught.value.where == str(lock)
    assert victim.read_text() == "precious"
    lock.unlink()
    os.mkfifo(lock)
    with pytest.raises(EnvironmentProblem, match="lock"), only_process_in(tmp_path / "run"):
        pass


def test_drafts_behind_a_link_stay(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    theirs = tmp_path / "other" / ".x-draft-1"
    theirs.mkdir()
    run = tmp_path / "run"
    (run / "build").mkdir(parents=True)
    mine = [run / ".a-draft-1", run / "build" / ".b-draft-2"]
    for each in mine:
        each.mkdir()
    (run / ".c-draft-3").symlink_to(tmp_path / "other")
    (run / "build" / ".d-draft-4").symlink_to(tmp_path / "other")
    artifacts.sweep_drafts(run)
    assert theirs.is_dir()
    assert [path.name for path in run.iterdir()] == ["build"]
    assert list((run / "build").iterdir()) == []
    (run / "measure").symlink_to(tmp_path / "other")
    with pytest.raises(ArtifactError, match="is a link") as caught:
        artifacts.sweep_drafts(run)
    assert caught.value.where == str(run / "measure")
    assert theirs.is_dir()
