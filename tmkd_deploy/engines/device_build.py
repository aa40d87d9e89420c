"""The build stage on an attached device, which will also run the engines."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tmkd_deploy.agent.build.preflight import sm_of
from tmkd_deploy.artifacts import sha256_of
from tmkd_deploy.devices.device import Device
from tmkd_deploy.engines import registry
from tmkd_deploy.engines.dla_model import for_dla
from tmkd_deploy.engines.engine_file import describe_engine
from tmkd_deploy.engines.int8_layers import count_int8
from tmkd_deploy.engines.tensorrt_typing import Typing, typing_of
from tmkd_deploy.events import Events, track
from tmkd_deploy.records.engine import EngineRecord
from tmkd_deploy.records.engine_names import engine_name
from tmkd_deploy.records.measurements import EngineFile, TiedTo
from tmkd_deploy.records.onnx_model import INPUT
from tmkd_deploy.records.types import (
    ImageSize,
    Precision,
    RuntimeName,
    as_precision,
    height_and_width,
)
from tmkd_deploy.targets.device_checks import known_faults
from tmkd_deploy.targets.racing import Race
from tmkd_deploy.targets.target_profile import PRECISIONS, TargetProfile

TEACHER = "teacher"
_RELEASE = re.compile(r"\d{1,5}(\.\d{1,9}){1,3}")


def build_on_device(
    device: Device,
    profile: TargetProfile,
    models: Mapping[str, Path],
    image_size: ImageSize,
    dla_core: int | None,
    folder: Path,
    events: Events,
    race: Race | None = None,
) -> EngineRecord:
    """Build an engine on the device for each precision and runtime, and download it.

    Args:
        device: locked for this run.
        profile: of the target.
        models: the ONNX file of each precision and of `TEACHER`, which is built in FP32 to be timed
            alongside the student.
        image_size: of the models' input.
        dla_core: the deep learning accelerator to build for; None for the GPU. It computes in INT8
            and FP16, so FP32 engines are the GPU's.
        folder: receives each engine and what the device records about it:
            `<name>.manifest.json`, `<name>.layers.json` and `<name>.builder.log`; for a DLA also
            the files that it is built from.
        events: receives progress and notes.
        race: the target's runtimes on this device; None for its own alone.

    Raises:
        TmkdError: as `Device.request`.
    """
    race = race or Race((profile.runtime,))
    engines, notes = [], []
    release = tensorrt_release(device.info) if profile.runtime == "tensorrt" else None
    typing: Typing = typing_of(release) if release else "strong"
    height, width = height_and_width(image_size)
    if profile.runtime == "tensorrt":
        for fault in known_faults(device.info):
            events.warn(f"{fault.subject}: {fault.found}. {fault.remedy}")
    description = f"Building engines on {device.info['model'] or profile.title}"
    to_build = [
        (runtime, name, model)
        for runtime in race.runtimes
        for name, model in models.items()
        if (runtime == race.own if name == TEACHER else name in PRECISIONS[runtime])
    ]
    for runtime, precision, model in track(events, to_build, description, len(to_build), "engines"):
        other = None if runtime == race.own else runtime
        name = precision if precision == TEACHER else engine_name(as_precision(precision), other)
        core = None if release is None or name in (TEACHER, "fp32") else dla_core
        source, cache = model, None
        if core is not None and release is not None:
            source = folder / f"{name}.dla.onnx"
            cache = for_dla(model, as_precision(precision), release, source)
        answer = device.request(
            "build",
            runtime=runtime,
            onnx=device.upload(source),
            calibration=None if cache is None else device.upload(cache),
            precision="fp32" if name == TEACHER else precision,
            height=height,
            width=width,
            input=INPUT,
            typing=typing,
            workspace_mb=profile.workspace_mb,
            dla_core=core,
            compute_capability=_compute_capability(profile),
        )
        engine = _download(device, answer, name, model, profile, folder)
        if name != TEACHER:
            tied_to = _tied_to(answer["sidecar"], profile, typing, core)
            described = _describe(as_precision(precision), engine, tied_to, core)
            engines.append(described.model_copy(update={"runtime": other}))
            notes += _gpu_fallback_note(name, answer["sidecar"])
    for note in notes:
        events.say(note)
    return EngineRecord(
        target=profile.name,
        runtime=race.own,
        engines=engines,
        kit=[],
        notes=notes,
        device=str(device.info["model"] or device.info["machine"]),
    )


def engine_file_name(name: str, runtime: RuntimeName) -> str:
    """The name of an engine's file in its target's folder."""
    return f"{name}.onnx" if registry.runtime(runtime).engine_is_onnx else f"{name}.engine"


def tensorrt_release(record: Mapping[str, Any]) -> str | None:
    """The TensorRT release of a device, from the agent's `probe`; None if it has none."""
    release = record["tensorrt"] or (record["trtexec"] or {}).get("version")
    return str(release) if release else None


def _download(
    device: Device,
    answer: Mapping[str, Any],
    name: str,
    model: Path,
    profile: TargetProfile,
    folder: Path,
) -> Path:
    """Fetch the engine and what the device recorded about it; returns the engine's path."""
    engine = folder / engine_file_name(name, profile.runtime)
    if answer["engine"] == sha256_of(model):
        shutil.copyfile(model, engine)
    else:
        device.download(answer["engine"], engine)
    sidecar = json.dumps(answer["sidecar"], indent=1) + "\n"
    (folder / f"{name}.manifest.json").write_text(sidecar, encoding="utf-8")
    if answer["layers"]:
        device.download(answer["layers"], folder / f"{name}.layers.json")
    if answer["log"]:
        device.download(answer["log"], folder / f"{name}.builder.log")
    return engine


def _tied_to(
    sidecar: Mapping[str, Any], profile: TargetProfile, typing: Typing, dla_core: int | None
) -> TiedTo | None:
    """What the device says that the engine is tied to; None if it runs anywhere."""
    capability = sm_of(sidecar["device"]["sm"])
    release = _RELEASE.match(sidecar["versions"]["runtime"])
    runs_anywhere = registry.runtime(profile.runtime).engine_is_onnx
    if runs_anywhere or capability is None or release is None:
        return None
    return TiedTo(
        release=release[0],
        compute_capability=capability,
        typing=typing,
        workspace_mb=profile.workspace_mb,
        dla_core=dla_core,
    )


def _describe(
    precision: Precision, engine: Path, tied_to: TiedTo | None, dla_core: int | None
) -> EngineFile:
    if dla_core is not None:
        # those on a DLA are a single layer to TensorRT, such as {ForeignNode[Conv_0...Concat_198]}:
        # https://github.com/NVIDIA/TensorRT/issues/3143
        return describe_engine(precision, engine, tied_to=tied_to)
    listed = engine.with_name(f"{engine.stem}.layers.json")
    layers = json.loads(listed.read_text(encoding="utf-8")) if listed.exists() else None
    counts = count_int8(layers) if layers else (None, None)
    return describe_engine(precision, engine, counts, tied_to)


def _compute_capability(profile: TargetProfile) -> str | None:
    """TensorRT-RTX builds for a named GPU, TensorRT for the GPU present."""
    return profile.compute_capability if profile.runtime == "tensorrt_rtx" else None


def _gpu_fallback_note(name: str, sidecar: Mapping[str, Any]) -> list[str]:
    layers = sidecar["dla"]["gpu_fallback_layers"]
    if not layers:
        return []
    return [
        f"These layers of the {name.upper()} engine run on the GPU, because the DLA does not "
        f"support them: {', '.join(layers)}."
    ]
