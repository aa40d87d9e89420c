"""The stages that deploy: from trained models to engines, verdicts, bundles and a report."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tmkd_deploy.artifacts import Artifact
from tmkd_deploy.bundle.pack import BundleRecord, clearest_images, pack
from tmkd_deploy.data.prepared import images_name
from tmkd_deploy.engines.device_build import TEACHER, build_on_device, engine_name
from tmkd_deploy.gate.choose import Judged, choose_and_judge
from tmkd_deploy.measure.bench import Bench, DeviceBench, EngineUnderTest, LocalBench
from tmkd_deploy.measure.latency import machine
from tmkd_deploy.pipeline.exports import Exports, runtime_of, version_of
from tmkd_deploy.pipeline.reach import Inputs, plain
from tmkd_deploy.pipeline.reporting import ReportRecord, publish, write_report
from tmkd_deploy.pipeline.training import Training
from tmkd_deploy.recipe.schema import Target
from tmkd_deploy.records.engine import EngineRecord
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.records.onnx_model import MODEL
from tmkd_deploy.targets import catalog as profiles

if TYPE_CHECKING:
    from tmkd_deploy.measure.measure import InTorch

_GOLDEN_IMAGES = 4
# how far a golden output may lie from the recorded one on another processor, in logits
_GOLDEN_TOLERANCE = {"fp32": 0.01, "fp16": 0.1, "int8": 0.5}
_SESSION = "runtime/onnxruntime_session.py"
_PACKAGES = {"onnxruntime": "onnxruntime", "tensorrt_rtx": "tensorrt_rtx_cu13", "tensorrt": None}


class Deployment:
    """From the models of a training to what ships."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.reach = training.reach
        self.recipe = training.recipe
        self.exports = Exports(training)
        self._torch = threading.Lock()

    def engines(self, target: Target) -> Artifact[EngineRecord]:
        """The engines of a target, or the kit that builds them on the device."""
        if kept := self.reach.kept("build", EngineRecord, target.target):
            return kept
        if target.device:
            return self._engines_of_device(target, target.device)
        profile = profiles.get(target.target)
        models = {name: file for name, file in self.exports.onnx(target).items() if name != TEACHER}
        older = self.exports.older_onnx(target)
        package = _PACKAGES[profile.runtime]
        asks = {"profile": profile.model_dump(mode="json"), "version": version_of(package)}

        def make(folder: Path) -> EngineRecord:
            from tmkd_deploy.engines.build import build  # noqa: PLC0415

            paths, older_paths = (
                {precision: file.path(MODEL) for precision, file in files.items()}
                for files in (models, older)
            )
            size = self.recipe.data.image_size
            return build(profile, paths, size, folder, self.reach.events, older_paths)

        rooms = ("engines", _SESSION, "records/measurements.py")
        inputs: Inputs = {**models, **{f"older {name}": file for name, file in older.items()}}
        return self.reach.stage("build", EngineRecord, asks, inputs, rooms, make, target.target)

    def _engines_of_device(self, target: Target, address: str) -> Artifact[EngineRecord]:
        profile, models = profiles.get(target.target), self.exports.onnx(target)
        if profile.runtime == "onnxruntime":
            del models[TEACHER]  # its ONNX file is its engine
        asks = {
            "profile": profile.model_dump(mode="json"),
            "device": self.reach.attached.identity(address),
            "dla_core": target.dla_core,
        }

        def make(folder: Path) -> EngineRecord:
            paths = {name: file.path(MODEL) for name, file in models.items()}
            size, events = self.recipe.data.image_size, self.reach.events
            with self.reach.attached.held(address) as device:
                return build_on_device(
                    device, profile, paths, size, target.dla_core, folder, events
                )

        rooms = ("engines", "agent", "devices", _SESSION, "records/measurements.py")
        return self.reach.stage("build", EngineRecord, asks, {**models}, rooms, make, target.target)

    def measured(self, target: Target) -> Artifact[Measurements]:
        """Accuracy and latency of every engine of a target."""
        if kept := self.reach.kept("measure", Measurements, target.target):
            return kept
        recipe = self.recipe
        engines, files = self.engines(target), self.exports.onnx(target)
        asks = {"seed": recipe.seed, "measure": plain(recipe.measure)}
        asks["machine"] = self.machine(target)
        inputs: Inputs = {
            "data": self.training.prepared,
            "teacher": self.training.teacher,
            "student": self.training.student,
            "engines": engines,
            **files,
        }
        if recipe.quantize.enabled:
            inputs["quantized"] = self.training.quantized
        compared = self.exports.compared(target)
        if compared:
            inputs["compared"] = compared

        def make(folder: Path) -> Measurements:
            from tmkd_deploy.measure.measure import engines_under_test, measure  # noqa: PLC0415

            torch_side = self._in_torch(target)
            paths = {name: file.path(MODEL) for name, file in files.items()}
            teacher = paths.pop(TEACHER, None)
            if target.device and runtime_of(target).name != "onnxruntime":
                teacher = engines.path(engine_name(TEACHER, engines.record.runtime))
            data, events = self.training.load_data(), self.reach.events
            with self._bench(target, engines_under_test(engines, teacher, compared)) as bench:
                return measure(
                    recipe, data, torch_side, engines.record, paths, bench, folder, events
                )

        rooms = ("measure", "engines", "quantize", "agent", "devices", _SESSION)
        return self.reach.stage("measure", Measurements, asks, inputs, rooms, make, target.target)

    def _in_torch(self, target: Target) -> InTorch:
        from tmkd_deploy.measure.measure import Models, in_torch  # noqa: PLC0415

        # While torch.fx traces a network in one thread, no network works in another: it exchanges
        # `Module.__call__` for the whole process. Several devices are measured at a time.
        with self._torch:
            training, data = self.training, self.training.load_data()
            student, quantized = training.load_student(), self.recipe.quantize.enabled
            models = Models(
                training.load_teachers(),
                student,
                student.alone(self.recipe, data),
                training.load_quantized() if quantized else None,
                training.load_control() if quantized else None,
            )
            return in_torch(models, self.recipe, data, runtime_of(target).quant_scheme)

    def machine(self, target: Target) -> dict[str, Any] | None:
        """What a target's engines run on; None where nothing at hand runs them."""
        if target.device:
            return self.reach.attached.identity(target.device)
        return machine() if runtime_of(target).runs_here else None

    @contextmanager
    def _bench(
        self, target: Target, engines: Mapping[str, EngineUnderTest]
    ) -> Iterator[Bench | None]:
        """Where the engines run; None where nothing at hand runs them."""
        settings = self.recipe.measure
        if target.device:
            file = self.training.prepared.path(images_name("test"))
            with self.reach.attached.held(target.device) as device:
                yield DeviceBench(engines, file, settings, device)
        elif runtime_of(target).runs_here:
            images = self.training.load_data().images("test")
            yield LocalBench(engines, images, settings, self.reach.events)
        else:
            yield None

    def judged(self, target: Target) -> Artifact[Judged]:
        """Which engine of a target ships, and whether it keeps the budgets."""
        measured = self.measured(target)
        may_ship = target.precisions or []
        asks = {"budgets": plain(target.budgets), "precisions": may_ship}
        rooms = ("gate", "records/measurements.py")
        return self.reach.stage(
            "gate",
            Judged,
            asks,
            {"measured": measured},
            rooms,
            lambda _: choose_and_judge(target.budgets, measured.record, may_ship),
            target.target,
        )

    def bundled(self, target: Target) -> Artifact[BundleRecord] | None:
        """The bundle of a target; None where the engine has yet to be built on the device."""
        if self.engines(target).record.kit:
            self.judged(target)
            self.reach.events.say(
                f"There is no engine for {target.target} to bundle before it is built there."
            )
            return None
        measured, judged, engines = self.measured(target), self.judged(target), self.engines(target)
        inputs: Inputs = {
            "data": self.training.prepared,
            "measured": measured,
            "judged": judged,
            "engines": engines,
        }

        def make(folder: Path) -> BundleRecord:
            record = judged.record.measurements
            engine = next(each for each in record.engines if each.precision == record.shipped)
            logits = np.load(measured.path(f"logits-{record.shipped}.npy"), allow_pickle=False)
            golden = clearest_images(logits, _GOLDEN_IMAGES)
            return pack(
                name=self.recipe.name,
                engine=engines.path(engine.file),
                precision=engine.precision,
                runtime=record.runtime,
                measurements=record,
                verdict=judged.record.verdict,
                class_names=record.class_names,
                image_size=self.training.prepared.record.image_size,
                golden_images=np.asarray(self.training.load_data().images("test")[golden]),
                golden_logits=logits[golden],
                golden_tolerance=_GOLDEN_TOLERANCE[engine.precision],
                into=folder,
            )

        asks = {"name": self.recipe.name}
        rooms = ("bundle", "runtime")
        return self.reach.stage("bundle", BundleRecord, asks, inputs, rooms, make, target.target)

    def report(self, targets: list[Target]) -> Artifact[ReportRecord]:
        """The report over all targets, in every format, also at the top of the run folder."""
        judged = {target.target: self.judged(target) for target in targets}
        bundles = {target.target: self.bundled(target) for target in targets}
        upstream: Inputs = {
            "data": self.training.prepared,
            "teacher": self.training.teacher,
            "weighed": self.training.view_scores,
            "student": self.training.student,
        }
        if self.recipe.quantize.enabled:
            upstream["quantized"] = self.training.quantized
        if sought := self.reach.reached("fallback"):
            upstream["fallback"] = sought
        inputs: Inputs = {
            **upstream,
            **{f"gate {name}": artifact for name, artifact in judged.items()},
            **{f"bundle {name}": artifact for name, artifact in bundles.items() if artifact},
        }
        made = self.reach.runner.results
        times = {(r.stage, r.target): (r.folder, r.reused) for r in made}

        def make(folder: Path) -> ReportRecord:
            return write_report(self.recipe, upstream, judged, bundles, times, folder)

        artifact = self.reach.stage(
            "report",
            ReportRecord,
            plain(self.recipe),
            inputs,
            ("report", "pipeline/reporting.py"),
            make,
        )
        publish(artifact, self.reach.folder)
        return artifact
