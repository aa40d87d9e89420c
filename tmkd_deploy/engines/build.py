"""The build stage: build every engine of a target."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.engines.tensorrt_kit import TensorRTKit
from tmkd_deploy.events import Events, track
from tmkd_deploy.records.engine import EngineRecord
from tmkd_deploy.records.measurements import EngineFile
from tmkd_deploy.records.types import ImageSize, as_precision
from tmkd_deploy.targets.racing import Race
from tmkd_deploy.targets.target_profile import PRECISIONS, TargetProfile


def build(
    profile: TargetProfile,
    models: Mapping[str, Path],
    image_size: ImageSize,
    folder: Path,
    events: Events,
    older: Mapping[str, Path] | None = None,
    dla_core: int | None = None,
    race: Race | None = None,
) -> EngineRecord:
    """Build an engine for each precision and each runtime of the race.

    Args:
        profile: of the target.
        models: the ONNX file of each precision.
        image_size: of the models' input.
        folder: receives the engines.
        events: receives progress and notes.
        older: ONNX files of the same precisions for an older TensorRT release, for a build kit.
        dla_core: the deep learning accelerator that a build kit is for; None for the GPU.
        race: the target's runtimes; None for its own alone.

    Raises:
        TmkdError: as `Runtime.build`.
    """
    race = race or Race((profile.runtime,))
    own = runtime(race.own)
    if isinstance(own, TensorRTKit):
        own = TensorRTKit(dla_core)
    engines: list[EngineFile] = []
    to_build = [
        (builder, as_precision(name), model)
        for builder in (own, *map(runtime, race.runtimes[1:]))
        for name, model in models.items()
        if name in PRECISIONS[builder.name]
    ]
    description = f"Building engines for {profile.name}"
    for builder, precision, model in track(events, to_build, description, len(to_build), "engines"):
        other = None if builder is own else builder.name
        engine = builder.build(model, precision, image_size, profile, folder)
        engines.append(engine.model_copy(update={"runtime": other}))
    for precision_name, model in (older or {}).items():
        own.build(model, as_precision(precision_name), image_size, profile, folder)
    kit, notes = [], []
    if profile.build == "on_device":
        kit = sorted(path.name for path in folder.iterdir())
        notes.append(
            f"{profile.title} builds its own engines: copy this folder to the device and run "
            f"{' and '.join(f'build-{engine.precision}.sh' for engine in engines)}."
        )
        if dla_core is not None and dla_core >= profile.dla_cores:
            notes.append(
                f"The kit is for DLA core {dla_core}, but {profile.title} is listed with "
                f"{profile.dla_cores} DLA cores."
            )
    for note in notes:
        events.say(note)
    return EngineRecord(
        target=profile.name, runtime=race.own, engines=engines, kit=kit, notes=notes
    )
