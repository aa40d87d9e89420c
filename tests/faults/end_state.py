"""What a run folder must hold in the end, whatever happened on the way."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from project import Project

from tmkd_deploy.artifacts import read_manifest, sha256_of

TIMED = ("measure", "gate")  # their records hold latencies
_PAGES = ("report.html", "report.md")  # they show latencies


def end_state(project: Project) -> dict[str, Any]:
    """Everything that a run decides: files by hash, records without timings, and the verdicts."""
    state: dict[str, Any] = {}
    for path in sorted(project.run_folder.rglob("*")):
        name = path.relative_to(project.run_folder).as_posix()
        if path.is_dir() or name == ".lock":
            continue
        state[name] = None if path.name in _PAGES else _content(path)
    return state


def _content(path: Path) -> Any:
    if path.name == "manifest.json":
        return _manifest(json.loads(path.read_text(encoding="utf-8")))
    if path.name == "summary.json":
        return _summary(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".tmkd":
        with zipfile.ZipFile(path) as bundle:
            members = {name: bundle.read(name) for name in bundle.namelist()}
        told = json.loads(members["manifest.json"])
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
        told["engines"] = [{**engine, "latency": None} for engine in told["engines"]]
        return {**hashes, "manifest.json": told}
    if path.name == "junit.xml":
        return path.read_text(encoding="utf-8").count("<testcase")
    return sha256_of(path)


def _manifest(manifest: dict[str, Any]) -> dict[str, Any]:
    """Who made it, from what, and what it holds; nothing that depends on the clock."""
    kept = {name: manifest[name] for name in ("schema_version", "kind", "tool_version")}
    if manifest["kind"] in TIMED:
        found = manifest["record"].get("verdict") or {}
        return {**kept, "files": sorted(manifest["files"]), **_verdict(found)}
    if manifest["kind"] in ("report", "bundle"):  # made of timed records
        return {**kept, "files": sorted(manifest["files"])}
    return {**kept, **{name: manifest[name] for name in ("inputs", "files", "record")}}


def _summary(summary: dict[str, Any]) -> dict[str, Any]:
    targets = {
        name: {
            **_verdict(each["verdict"]),
            "ledger": each["ledger"],
            "confusion": each["confusion"],
            "shipped": each["would_ship"]["engine"],
        }
        for name, each in summary["targets"].items()
    }
    same = {name: summary[name] for name in ("outcome", "data", "teacher", "student")}
    return {**same, "targets": targets}


def _verdict(verdict: dict[str, Any]) -> dict[str, Any]:
    return {"outcome": verdict.get("outcome"), "checks": verdict.get("checks")}


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """The names of what is missing, added or different."""
    names = sorted(found.keys() | expected.keys())
    absent = object()
    return [name for name in names if found.get(name, absent) != expected.get(name, absent)]


def half_finished(project: Project) -> list[str]:
    """Artifacts with a manifest whose files are not what it says."""
    broken = []
    for manifest in project.run_folder.rglob("manifest.json"):
        if any("-draft-" in part for part in manifest.parts):
            continue
        entries = read_manifest(manifest.parent).files
        files = {path.name: path for path in manifest.parent.iterdir() if path != manifest}
        if files.keys() != entries.keys() or any(
            sha256_of(path) != entries[name].sha256 for name, path in files.items()
        ):
            broken.append(str(manifest.parent))
    return broken


def snapshot(folders: Iterable[Path]) -> dict[str, str]:
    """Every file, folder and link below `folders`, with content, mode and time of change."""
    found = {}
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            status = path.lstat()
            told = f"{status.st_mode:o}"
            if path.is_symlink():
                told += str(path.readlink())
            elif path.is_file():
                told += f" {status.st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}"
            found[str(path)] = told
    return found
