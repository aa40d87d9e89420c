"""Joining bundles; test_runtime_several_engines.py has what a joined one does."""

from __future__ import annotations

from pathlib import Path

import pytest
from colour_bundle import Pack, as_older, colour_model

from tmkd_deploy.bundle import merge as merging
from tmkd_deploy.bundle.merge import merge
from tmkd_deploy.errors import DataError, RequestError
from tmkd_deploy.runtime import verify


def test_older_bundles_can_be_joined(pack_colours: Pack, tmp_path: Path) -> None:
    batches: tuple[int | str, ...] = (1, "batch")
    packed = [pack_colours(model=colour_model(batch=batch))[0] for batch in batches]
    paths = [as_older(path, version) for version, path in enumerate(packed, 1)]
    merge(paths, tmp_path / "new.tmkd")
    report = verify(tmp_path / "new.tmkd")
    assert report.manifest.format_version == 3
    assert [each.executed for each in report.engines] == [True, True]


def test_bundles_of_different_recipes_are_not_joined(
    bundle: Path, pack_colours: Pack, tmp_path: Path
) -> None:
    other, _ = pack_colours(class_names=["red", "green", "violet"])
    with pytest.raises(DataError, match=r"class names: 'red, green, blue' in .* 'red, green, vio"):
        merge([bundle, other], tmp_path / "new.tmkd")
    assert not list(tmp_path.glob("*new*"))
    with pytest.raises(RequestError, match="exists already"):
        merge([bundle, bundle], bundle)
    renamed, _ = pack_colours(name="colors")
    with pytest.raises(DataError, match=r"differ in their recipe: 'colours' in .* 'colors' here"):
        merge([bundle, renamed], tmp_path / "new.tmkd")


def test_what_would_never_be_used_is_not_joined(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="nothing to join"):
        merge([bundle], tmp_path / "new.tmkd")
    with pytest.raises(DataError, match=r"the same FP32 engine for onnxruntime as .*\.tmkd"):
        merge([bundle, bundle], tmp_path / "new.tmkd")
    assert not list(tmp_path.glob("*new*"))


def test_a_bundle_has_few_engines(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "MOST_ENGINES", 1)
    monkeypatch.setattr(merging, "_require_different", lambda bundles: None)
    with pytest.raises(RequestError, match="at most 1 "):
        merge([bundle, bundle], bundle.with_name("new.tmkd"))
