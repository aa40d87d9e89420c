"""Build a bundle's TensorRT engines on the device that runs them, and keep them there."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tmkd_deploy.devices.address import parse
from tmkd_deploy.devices.device import Device
from tmkd_deploy.engines.tensorrt_typing import typing_of
from tmkd_deploy.errors import DataError, EnvironmentProblem, RequestError
from tmkd_deploy.events import Events
from tmkd_deploy.printable import printable
from tmkd_deploy.records.onnx_model import INPUT
from tmkd_deploy.runtime.archive import Contents, read_archive
from tmkd_deploy.runtime.bundle_engine import build_key, title_of
from tmkd_deploy.runtime.engine_machine import EngineMachine
from tmkd_deploy.runtime.golden import compare_golden, golden_arrays, read_array
from tmkd_deploy.runtime.installed_engines import BuildKey
from tmkd_deploy.runtime.manifest_engine import BundledEngine
from tmkd_deploy.runtime.onnx_check import UnsafeModelError, refuse_unsafe


@dataclass(frozen=True)
class Installed:
    """What became of one engine of a bundle.

    Attributes:
        title: precision, runtime and target in a few words.
        path: the engine's file on the device; None if it is not installed there.
        reused: whether it was installed before.
        largest_difference: of a golden image's logit; None if it was not built now.
        reason: why it was not installed, as a sentence; None if it was.
        runs: whether applications on the device can use the engine now.
    """

    title: str
    path: str | None = None
    reused: bool = False
    largest_difference: float | None = None
    reason: str | None = None
    runs: bool = False


def install(file: Path, address: str, events: Events) -> list[Installed]:
    """Build every engine of a bundle that the device can run but was not made for it.

    A built engine is kept only if it produces the golden results. One that is installed already is
    not built again.

    Args:
        file: the bundle.
        address: of the device, such as `local` or `ssh://user@orin`.
        events: receives progress.

    Returns:
        One entry for each engine that can be built, of which at least one runs on the device.

    Raises:
        BundleError: the bundle cannot be used, or an engine computes different results.
        RequestError: the bundle has no engine that can be built, or the address is not valid.
        EnvironmentProblem: none of them can run on the device; otherwise as `Device.request`.
        DataError: a model is not safe to build.
    """
    buildable_engines(file)  # before the device is asked
    with Device(parse(address), events) as device:
        device.lock()
        found = install_on(device, file)
    if not any(each.runs for each in found):
        raise EnvironmentProblem(
            "No engine of this bundle can run on the device. "
            + " ".join(f"{each.title}: {each.reason}" for each in found),
            where=str(file),
            advice=f"Look at the device with: tmkd-deploy doctor --device {address}",
        )
    return found


def install_on(device: Device, file: Path) -> list[Installed]:
    """As `install`, on a device that is locked for this run; perhaps no engine runs on it."""
    contents, buildable = buildable_engines(file)
    return [_install(device, contents, engine, key) for engine, key in buildable]


def buildable_engines(file: Path) -> tuple[Contents, list[tuple[BundledEngine, BuildKey]]]:
    """The contents of a bundle, and its engines that can be built, at least one.

    Raises:
        BundleError, RequestError: as `install`.
    """
    contents = read_archive(file)
    keys = [(engine, build_key(contents, engine)) for engine in contents.manifest.engines]
    buildable = [(engine, key) for engine, key in keys if key is not None]
    if not buildable:
        raise RequestError(
            "This bundle has no engine to build.",
            where=str(file),
            advice="Its engines run as they are, or it was made by an earlier version of "
            "tmkd-deploy: then make it again.",
        )
    return contents, buildable


def _install(device: Device, contents: Contents, engine: BundledEngine, key: BuildKey) -> Installed:
    title, made_for = title_of(engine), engine.made_for
    if device.info.get(engine.runtime) is None:
        problem = device.info["import_errors"].get(engine.runtime)
        why = f" that it can import: {printable(problem, 300)}" if problem else ""
        return Installed(title, reason=f"The device's Python has no {engine.runtime}{why}.")
    found = device.request("find_installed", **key._asdict())
    machine = EngineMachine(found["release"], found["compute_capability"])
    as_made = made_for and machine.runs(made_for.release, made_for.compute_capability)
    if as_made and _runs(device, contents, engine):
        return Installed(title, reason="It was made for this device and runs as it is.", runs=True)
    if found["path"] is not None:
        return Installed(title, found["path"], reused=True, runs=True)
    if key.runtime == "tensorrt" and key.typing == "strong" != typing_of(machine.release):
        return Installed(
            title,
            reason=f"Its model needs TensorRT 10 or newer, and the device has {machine.release}.",
        )
    with tempfile.TemporaryDirectory() as folder:
        built = _build(device, contents, key, machine, Path(folder))
        largest = _check(device, contents, engine, built, Path(folder))
    kept = device.request("install", **key._asdict(), engine=built, bundle=contents.manifest.name)
    return Installed(title, kept["path"], largest_difference=largest, runs=True)


def _runs(device: Device, contents: Contents, engine: BundledEngine) -> bool:
    """Whether the engine in the bundle runs on the device.

    Raises:
        BundleError: it does, and computes different results.
    """
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "engine"
        plan.write_bytes(contents.members[engine.engine])
        try:
            _check(device, contents, engine, device.upload(plan), Path(folder))
        except EnvironmentProblem:
            return False
    return True


def _build(
    device: Device, contents: Contents, key: BuildKey, machine: EngineMachine, folder: Path
) -> str:
    """Build an engine on the device; returns its name there."""
    manifest = contents.manifest
    content = next(
        content
        for name, content in contents.members.items()
        if manifest.files[name].sha256 == key.onnx_sha256
    )
    try:
        refuse_unsafe(content)
    except UnsafeModelError as error:
        raise DataError(
            f"The bundle's model {error.what}, so it is not built.",
            where=str(contents.path),
            advice="Make the bundle again with tmkd-deploy, or choose another student.",
        ) from error
    model = folder / "model.onnx"
    model.write_bytes(content)
    on_rtx = key.runtime == "tensorrt_rtx"
    answer = device.request(
        "build",
        runtime=key.runtime,
        onnx=device.upload(model),
        precision=key.precision,
        height=manifest.height,
        width=manifest.width,
        input=INPUT,
        typing=key.typing,
        workspace_mb=key.workspace_mb,
        dla_core=key.dla_core,
        compute_capability=f"SM{machine.compute_capability}" if on_rtx else None,
    )
    return str(answer["engine"])


def _check(
    device: Device, contents: Contents, engine: BundledEngine, built: str, folder: Path
) -> float:
    """Run the golden images on the device; returns the largest difference of a logit."""
    count = len(golden_arrays(contents, engine)[0])
    images, logits = folder / "images.npy", folder / "logits.npy"
    images.write_bytes(contents.members[engine.golden_inputs])
    answer: dict[str, Any] = device.request(
        "predict",
        runtime=engine.runtime,
        engine=built,
        images=device.upload(images),
        threads=1,
        precise_int8=None,
    )
    device.download(answer["logits"], logits)
    try:
        found = read_array(logits.read_bytes(), np.float32)
    except ValueError as error:
        raise _wrong_answer() from error
    if found.shape != (count, len(contents.manifest.class_names)) or not np.isfinite(found).all():
        raise _wrong_answer()
    return compare_golden(contents, engine, found)


def _wrong_answer() -> DataError:
    return DataError(
        "The engine that was built on the device returns no finite logit for every golden image "
        "and class.",
        advice="Run again; if this recurs, update the device's TensorRT.",
    )
