"""The checks of `doctor` on this machine."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tmkd_deploy.cli import extras
from tmkd_deploy.errors import RequestError
from tmkd_deploy.printable import printable
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.suggestions import did_you_mean
from tmkd_deploy.targets import catalog, machine_probe
from tmkd_deploy.targets.finding import Finding
from tmkd_deploy.targets.int8_check import int8_findings

DISK_GB_NEEDED = 2.0
MEMORY_MB_ADVISED = 4096

# For developers of this package, for a comparison, or alternatives to another extra.
OPTIONAL = {"dev", "dev-train", "docs", "modelopt", "onnxruntime-gpu"}


def examine(recipe: Recipe | None, runs: Path, required: Sequence[str] = ()) -> list[Finding]:
    """The findings on this machine; with a recipe, only on what the recipe needs.

    The extras named in `required` are needed too, and their packages are imported.

    Raises:
        RequestError: one of `required` is no extra.
    """
    known = set(extras.requirements()) - {""}
    for name in required:
        if name not in known:
            raise RequestError(
                f'There is no extra "{printable(name)}" to require.',
                where="--extra",
                advice=did_you_mean(name, known),
            )
    machine = machine_probe.probe()
    return [
        _python(),
        *_packages(_needed_extras(recipe) | set(required), limited=recipe is not None),
        *(_imports(extra) for extra in required),
        _disk(runs),
        *_hardware(machine),
        *([] if recipe is None else _targets(recipe, machine)),
    ]


def _python() -> Finding:
    version = platform.python_version()
    if (3, 10) <= sys.version_info[:2] <= (3, 14):
        return Finding("Python", "ok", version)
    return Finding("Python", "error", version, "Install Python 3.10, 3.11, 3.12, 3.13 or 3.14.")


def _needed_extras(recipe: Recipe | None) -> set[str]:
    if recipe is None:
        return {""}
    needed = {"", "train"}
    weights = (recipe.teacher.visual.weights, recipe.student.weights)
    if recipe.data.source == "elpv" or any(name.startswith("package:") for name in weights):
        needed.add("demo")
    if recipe.quantize.enabled and "modelopt" in recipe.quantize.compare:
        needed.add("modelopt")
    by_runtime = {
        "onnxruntime": "onnxruntime",
        "openvino": "openvino",
        "tensorrt_rtx": "tensorrt-rtx",
    }
    for target in recipe.targets:
        runtimes = target.runtimes or [catalog.get(target.target).runtime]
        needed |= {by_runtime.get(name, "") for name in runtimes}
    return needed


def _packages(needed: set[str], *, limited: bool) -> Iterator[Finding]:
    try:
        requirements = extras.requirements()
    except importlib.metadata.PackageNotFoundError:
        yield Finding("tmkd-deploy", "error", "not installed", "pip install tmkd-deploy")
        return
    for extra, packages in requirements.items():
        if extra in needed or (extra not in OPTIONAL and not limited):
            yield _extra(extra, packages, extra in needed)


def _extra(extra: str, packages: list[extras.Requirement], needed: bool) -> Finding:
    subject = f"Extra {extra}" if extra else "Base packages"
    install = f"pip install 'tmkd-deploy[{extra}]'" if extra else "pip install tmkd-deploy"
    missing = [
        f"{each.distribution} "
        + ("is missing" if each.installed is None else f"{each.installed} is not {each.specifier}")
        for each in packages
        if not each.satisfied
    ]
    if missing:
        return Finding(subject, "error" if needed else "missing", ", ".join(missing), install)
    found = ", ".join(f"{each.distribution} {each.installed}" for each in packages)
    return Finding(subject, "ok", found)


def _imports(extra: str) -> Finding:
    """Whether the modules of an extra can be imported: installed is not yet usable."""
    subject = f"Imports of {extra}"
    modules = [module for module, (_, provider) in extras.PROVIDERS.items() if provider == extra]
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # a library that fails to load may raise anything
            found = f"{module}: {printable(str(error) or type(error).__name__)}"
            remedy = f"pip install --force-reinstall 'tmkd-deploy[{extra}]'"
            return Finding(subject, "error", found, remedy)
    return Finding(subject, "ok", ", ".join(modules))


def _disk(runs: Path) -> Finding:
    existing = next(
        folder for folder in (runs.absolute(), *runs.absolute().parents) if folder.is_dir()
    )
    free = shutil.disk_usage(existing).free / 1e9
    found = f"{free:.1f} GB free in {existing}"
    if free < DISK_GB_NEEDED:
        remedy = f"Free at least {DISK_GB_NEEDED:g} GB, or choose another folder with --runs."
        return Finding("Disk", "error", found, remedy)
    return Finding("Disk", "ok", found)


def _hardware(machine: dict[str, Any]) -> Iterator[Finding]:
    memory = machine["memory_mb"]
    if memory is not None and memory < MEMORY_MB_ADVISED:
        yield Finding("Memory", "warning", f"{memory} MB", "Lower batch_size if training fails.")
    else:
        yield Finding("Memory", "ok", "unknown" if memory is None else f"{memory} MB")
    yield Finding("Processor", "ok", f"{machine['processor']}, {machine['cores']} cores")
    yield from int8_findings(machine)
    for gpu in machine["gpus"]:
        memory = f"{gpu['memory_mb']} MB" if gpu["memory_mb"] else None
        driver = f"driver {gpu['driver']}" if gpu["driver"] else None
        known = (gpu["name"], gpu["compute_capability"], memory, driver)
        yield Finding("GPU", "ok", ", ".join(each for each in known if each))


def _targets(recipe: Recipe, machine: dict[str, Any]) -> Iterator[Finding]:
    for entry in recipe.targets:
        target = catalog.get(entry.target)
        subject = f"Target {target.name}"
        if target.name in machine["can_run"]:
            yield Finding(subject, "ok", "can be built and measured here")
        elif target.name in machine["can_build"]:
            yield Finding(subject, "ok", "can be built here; measuring it needs the device")
        elif target.build == "on_device":
            yield Finding(subject, "ok", "a build kit is written here and built on the device")
        else:
            extra = target.runtime.replace("_", "-")
            yield Finding(
                subject,
                "error",
                f"its builder {target.runtime} is not installed",
                f"pip install 'tmkd-deploy[{extra}]'",
            )
