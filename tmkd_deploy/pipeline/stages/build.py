"""build: the engines of a target, or the kit that builds them on the device."""

from __future__ import annotations

from typing import Any

from tmkd_deploy.pipeline.package_version import version_of
from tmkd_deploy.pipeline.resolved_target import ResolvedTarget
from tmkd_deploy.pipeline.stage import Job, Ref, Stage
from tmkd_deploy.records.engine import EngineRecord
from tmkd_deploy.records.onnx_model import MODEL

_PACKAGES = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "tensorrt_rtx": "tensorrt_rtx_cu13",
    "tensorrt": None,
}


class Build(Stage[ResolvedTarget]):
    """Builds here, or on the device that the target is attached to."""

    name = "build"
    record_type = EngineRecord

    def params(self) -> dict[str, Any]:
        """The target's profile and runtimes, and what builds: a device, or installed packages."""
        target = self.subject
        params: dict[str, Any] = {
            "profile": target.profile.model_dump(mode="json"),
            "runtimes": target.race.runtimes,
        }
        if target.device:
            return {**params, "device": target.machine, "dla_core": target.dla_core}
        versions = [version_of(_PACKAGES[name]) for name in target.race.runtimes]
        return {**params, "versions": versions, "dla_core": target.dla_core}

    def inputs(self) -> dict[str, Ref]:
        target = self.subject
        inputs = {name: Ref("export", variant) for name, variant in target.variants.items()}
        if not target.device:
            older = {f"older {name}": Ref("export", v) for name, v in target.older_variants.items()}
            return {**inputs, **older}
        if target.teacher_engine_is_built:
            inputs["teacher"] = Ref("export", target.teacher_variant)
        return inputs

    def run(self, job: Job) -> EngineRecord:
        paths = {name: artifact.path(MODEL) for name, artifact in job.inputs.items()}
        if self.subject.device:
            return self._build_on_device(self.subject.device, paths, job)
        from tmkd_deploy.engines.build import build

        older = {
            name.removeprefix("older "): paths.pop(name)
            for name in list(paths)
            if name.startswith("older ")
        }
        size, events = self.context.recipe.data.image_size, self.context.events
        target = self.subject
        core, race = target.dla_core, target.race
        return build(target.profile, paths, size, job.folder, events, older, core, race)

    def _build_on_device(self, address: str, paths: dict[str, Any], job: Job) -> EngineRecord:
        from tmkd_deploy.engines.device_build import build_on_device

        target, size, events = (
            self.subject,
            self.context.recipe.data.image_size,
            self.context.events,
        )
        with self.context.devices.locked(address) as device:
            return build_on_device(
                device,
                target.profile,
                paths,
                size,
                target.dla_core,
                job.folder,
                events,
                target.race,
            )
