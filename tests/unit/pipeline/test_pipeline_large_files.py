"""Large files of an artifact are hashed once, and again after any change."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tmkd_deploy import artifact_files, artifacts
from tmkd_deploy.errors import ArtifactError

CONTENT = b"x" * 1000


class Made(artifacts.Record):
    """An empty record."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An artifact with a large file in a folder of its own and a small one."""
    monkeypatch.setattr(artifact_files, "LARGE", len(CONTENT))
    with artifacts.writing(tmp_path / "a", kind="made", fingerprint="f", inputs={}) as draft:
        (draft.folder / "inner").mkdir()
        (draft.folder / "inner" / "large").write_bytes(CONTENT)
        (draft.folder / "small").write_bytes(b"y")
        draft.record = Made()
    return tmp_path / "a"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were hashed."""
    names: list[str] = []
    real = artifact_files.difference

    def difference(folder: Path, name: str, size: int, expected: str) -> str | None:
        names.append(name)
        return real(folder, name, size, expected)

    monkeypatch.setattr(artifact_files, "difference", difference)
    return names


def read(folder: Path) -> None:
    artifacts.read(folder, "made", Made)


def test_a_large_file_is_hashed_once(folder: Path, hashed: list[str]) -> None:
    read(folder)
    assert sorted(hashed) == ["inner/large", "small"]
    read(folder)
    assert sorted(hashed) == ["inner/large", "small", "small"]


def test_a_changed_file_is_noticed_though_its_time_is_set_back(folder: Path) -> None:
    read(folder)
    large = folder / "inner" / "large"
    before = large.stat()
    large.write_bytes(b"z" * len(CONTENT))
    os.utime(large, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ArtifactError, match="altered"):
        read(folder)


def test_stamps_of_a_copied_folder_count_for_nothing(folder: Path, hashed: list[str]) -> None:
    read(folder)
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy, copy_function=shutil.copy2)
    assert (copy / artifact_files.STAMPS).exists()
    hashed.clear()
    read(copy)
    assert "inner/large" in hashed


@pytest.mark.parametrize(
    "stamps", ["", "[]", "{", json.dumps({"inner/large": [1, 2]}), "\0", '{"a": NaN}']
)
def test_unreadable_stamps_are_made_anew(folder: Path, hashed: list[str], stamps: str) -> None:
    (folder / artifact_files.STAMPS).write_text(stamps)
    read(folder)
    read(folder)
    assert hashed.count("inner/large") == 1


def test_a_truncated_or_missing_file_is_refused_again(folder: Path) -> None:
    read(folder)
    large = folder / "inner" / "large"
    large.write_bytes(CONTENT[:-1])
    with pytest.raises(ArtifactError, match="truncated"):
        read(folder)
    large.unlink()
    with pytest.raises(ArtifactError, match="missing"):
        read(folder)
    large.symlink_to(folder / "small")
    with pytest.raises(ArtifactError, match="link"):
        read(folder)


def test_a_folder_that_cannot_be_written_is_read_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)
    read(folder)
    assert not (folder / artifact_files.STAMPS).exists()
