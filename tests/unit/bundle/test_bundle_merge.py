"""Joining bundles; test_runtime_several_engines.py has what a joined one does."""

from __future__ import annotations

from pathlib import Path

import pytest
from colour_bundle import Pack, as_older

from tmkd_deploy.bundle.merge import merge
from tmkd_deploy.errors import DataError, RequestError
from tmkd_deploy.runtime import verify


def test_older_bundles_can_be_joined(pack_colours: Pack, tmp_path: Path) -> None:
    paths = [as_older(pack_colours()[0], version) for version in (1, 2)]
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
    with pytest.raises(RequestError, match="at most 16"):
        merge([bundle] * 17, tmp_path / "new.tmkd")
