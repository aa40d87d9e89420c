"""The C++ runtime finds plans that were installed on this machine, and believes only its own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from colour_bundle import contents_of
from cpp_build import Built, run
from format_versions import BUILD, PLAN, as_version, with_engines

HERE = ("none", "8.5.2.2", "72", "0")  # the bundle's plan is for another release and GPU


def name_of(bundle: Path, release: str) -> str:
    """The name that `docs/reference/bundle.md` states."""
    onnx = hashlib.sha256(contents_of(bundle)["engine.onnx"]).hexdigest()
    key = {
        **{each: BUILD[each] for each in ("precision", "typing", "workspace_mb", "dla_core")},
        **{"runtime": "tensorrt", "onnx_sha256": onnx},
        **{"release": release, "compute_capability": 72},
    }
    text = json.dumps(key, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def plans(tmp_path: Path) -> Path:
    folder = tmp_path / "engines"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def plan_bundle(bundle: Path) -> Path:
    changes = [{"target": "gpu", **PLAN, "build": BUILD}]
    return with_engines(as_version(bundle, 3), changes)


def install(folder: Path, name: str, plan: bytes = b"a plan") -> None:
    record = {"sha256": hashlib.sha256(plan).hexdigest()}
    for suffix, content in ((".plan", plan), (".json", json.dumps(record).encode())):
        path = folder / f"{name}{suffix}"
        path.write_bytes(content)
        path.chmod(0o600)


def verdict(built: Built, bundle: Path, folder: Path) -> str:
    command = ["env", f"TMKD_DEPLOY_ENGINES={folder}", built.folder / "probe", "choose", *HERE]
    return run(command, given=f"{bundle}\n".encode()).decode().strip()


@pytest.mark.parametrize("release", ["8.5.2.2", "8.5.2"])
def test_an_installed_plan_is_chosen(
    built: Built, plan_bundle: Path, plans: Path, release: str
) -> None:
    assert "and none is installed for it" in verdict(built, plan_bundle, plans)
    install(plans, name_of(plan_bundle, release))
    assert verdict(built, plan_bundle, plans) == "ok gpu installed"


def test_a_plan_for_another_machine_or_with_another_hash_is_none(
    built: Built, plan_bundle: Path, plans: Path
) -> None:
    install(plans, name_of(plan_bundle, "8.5.2.3"))
    assert "none is installed" in verdict(built, plan_bundle, plans)
    name = name_of(plan_bundle, HERE[1])
    install(plans, name)
    (plans / f"{name}.plan").write_bytes(b"b plan")
    assert "none is installed" in verdict(built, plan_bundle, plans)


def test_a_plan_that_others_may_write_is_none(built: Built, plan_bundle: Path, plans: Path) -> None:
    name = name_of(plan_bundle, HERE[1])
    install(plans, name)
    (plans / f"{name}.plan").chmod(0o622)
    assert "none is installed" in verdict(built, plan_bundle, plans)
    (plans / f"{name}.plan").rename(plans / "elsewhere")
    (plans / f"{name}.plan").symlink_to(plans / "elsewhere")
    assert "none is installed" in verdict(built, plan_bundle, plans)


def test_a_folder_that_others_may_write_is_not_used(
    built: Built, plan_bundle: Path, plans: Path, tmp_path: Path
) -> None:
    install(plans, name_of(plan_bundle, HERE[1]))
    plans.chmod(0o777)
    assert "may be written by others" in verdict(built, plan_bundle, plans)
    plans.chmod(0o700)
    (tmp_path / "link").symlink_to(plans)
    assert "may be written by others" in verdict(built, plan_bundle, tmp_path / "link")
    assert "none is installed" in verdict(built, plan_bundle, tmp_path / "absent")
