"""What each stage depends on and what it is given.

Nothing here imports a training or inference library before a stage really has to run, so that a
fresh run is recognised in about a second.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tmkd_deploy.artifacts import Artifact, Facts
from tmkd_deploy.bundle.pack import BundleFacts, clearest_images, pack
from tmkd_deploy.data.prepare import prepare
from tmkd_deploy.data.prepared import DataFacts, PreparedData
from tmkd_deploy.data.sources import source_fingerprint
from tmkd_deploy.distill.facts import StudentFacts, TeacherFacts
from tmkd_deploy.engines.facts import EngineFacts
from tmkd_deploy.engines.interface import Runtime, variant_for
from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.errors import ExitCode
from tmkd_deploy.events import Events
from tmkd_deploy.export.facts import MODEL, OnnxFacts, Variant
from tmkd_deploy.gate.choose import Judged, choose_and_judge
from tmkd_deploy.measure.latency import machine
from tmkd_deploy.measure.results import Measurements
from tmkd_deploy.pipeline.reporting import ReportFacts, publish, write_report
from tmkd_deploy.pipeline.stage import Runner, Stage
from tmkd_deploy.quantize.facts import QuantizationFacts
from tmkd_deploy.recipe.schema import Recipe, Section, Target
from tmkd_deploy.targets import profile as profiles

if TYPE_CHECKING:
    from tmkd_deploy.distill.distill import Student
    from tmkd_deploy.distill.teach import Teachers
    from tmkd_deploy.models.classifier import Classifier

F = TypeVar("F", bound=Facts)
Inputs = dict[str, Artifact[Any]]

_GOLDEN_IMAGES = 4
# how far a golden output may lie from the recorded one on another processor, in logits
_GOLDEN_TOLERANCE = {"fp32": 0.01, "fp16": 0.1, "int8": 0.5}
_MODELS = ("models", "distill")
_PACKAGES = {"onnxruntime": "onnxruntime", "tensorrt_rtx": "tensorrt_rtx_cu13", "tensorrt": None}


class Chain:
    """The stages of one run; each is reached when its artifact is first asked for."""

    def __init__(self, recipe: Recipe, folder: Path, runner: Runner, events: Events) -> None:
        self.recipe = recipe
        self.folder = folder
        self._runner = runner
        self._events = events
        self._reached: dict[tuple[str, str | None], Artifact[Any]] = {}

    @functools.cached_property
    def prepared(self) -> Artifact[DataFacts]:
        """The images of both splits, decoded and checked."""
        spec = self.recipe.data
        asks = {**_of(spec), "files": "" if self._runner.only else source_fingerprint(spec)}
        return self._run(
            "prepare", DataFacts, asks, {}, ("data",), lambda f: prepare(spec, f, self._events)
        )

    @functools.cached_property
    def teachers(self) -> Artifact[TeacherFacts]:
        """Both teachers, trained."""
        recipe = self.recipe
        asks = {
            "seed": recipe.seed,
            "views": _of(recipe.views),
            "prompts": _of(recipe.prompts),
            "teacher": _of(recipe.teacher),
            "augment": recipe.distill.augment,
        }

        def make(folder: Path) -> TeacherFacts:
            from tmkd_deploy.distill.teach import teach  # noqa: PLC0415

            return teach(recipe, self._data(), folder, self._events)

        return self._run("teach", TeacherFacts, asks, {"data": self.prepared}, _MODELS, make)

    @functools.cached_property
    def student(self) -> Artifact[StudentFacts]:
        """The distilled student, and the one trained alone."""
        recipe = self.recipe
        inputs: Inputs = {"data": self.prepared, "teachers": self.teachers}

        def make(folder: Path) -> StudentFacts:
            from tmkd_deploy.distill.distill import distill  # noqa: PLC0415

            return distill(recipe, self._data(), self._teachers(), folder, self._events)

        return self._run("distill", StudentFacts, _student_asks(recipe), inputs, _MODELS, make)

    @functools.cached_property
    def quantized(self) -> Artifact[QuantizationFacts]:
        """The student fine-tuned through fake quantizers, on the grid of the first target."""
        recipe = self.recipe
        placement = runtime(profiles.get(recipe.targets[0].target).runtime).placement
        asks = {
            **_student_asks(recipe),
            "quantize": _of(recipe.quantize),
            "placement": placement.value,
        }
        inputs: Inputs = {
            "data": self.prepared,
            "teachers": self.teachers,
            "student": self.student,
        }

        def make(folder: Path) -> QuantizationFacts:
            from tmkd_deploy.quantize.quantize import quantize  # noqa: PLC0415

            models = self._teachers(), self._student()
            return quantize(recipe, self._data(), *models, placement, folder, self._events)

        rooms = (*_MODELS, "quantize", "engines/placement.py")
        return self._run("quantize", QuantizationFacts, asks, inputs, rooms, make)

    def onnx(self, target: Target) -> dict[str, Artifact[OnnxFacts]]:
        """The ONNX file of each precision, and the teacher's where engines can run here."""
        builder = _runtime(target)
        files: dict[str, Artifact[OnnxFacts]] = {
            precision: self._exported(variant_for(builder, precision))
            for precision in target.precisions or []
        }
        if builder.runs_here:
            files["teacher"] = self._exported(Variant("teacher", "fp32"))
        return files

    def engines(self, target: Target) -> Artifact[EngineFacts]:
        """The engines of a target, or the kit that builds them on the device."""
        profile = profiles.get(target.target)
        models = {name: file for name, file in self.onnx(target).items() if name != "teacher"}
        package = _PACKAGES[profile.runtime]
        asks = {"profile": profile.model_dump(mode="json"), "version": _version(package)}

        def make(folder: Path) -> EngineFacts:
            from tmkd_deploy.engines.build import build  # noqa: PLC0415

            paths = {precision: file.path(MODEL) for precision, file in models.items()}
            return build(profile, paths, self.recipe.data.image_size, folder, self._events)

        rooms = ("engines", "runtime/onnxruntime_session.py", "measure/results.py")
        return self._run("build", EngineFacts, asks, models, rooms, make, target.target)

    def measured(self, target: Target) -> Artifact[Measurements]:
        """Accuracy and latency of every engine of a target."""
        recipe = self.recipe
        engines, files = self.engines(target), self.onnx(target)
        asks = {"seed": recipe.seed, "measure": _of(recipe.measure)}
        if _runtime(target).runs_here:
            asks["machine"] = machine()
        inputs: Inputs = {
            "data": self.prepared,
            "teachers": self.teachers,
            "student": self.student,
            "engines": engines,
            **files,
        }
        if recipe.quantize.enabled:
            inputs["quantized"] = self.quantized

        def make(folder: Path) -> Measurements:
            from tmkd_deploy.measure.measure import Models, measure  # noqa: PLC0415

            student = self._student()
            models = Models(
                self._teachers(),
                student,
                student.alone(recipe, self._data()),
                self._quantized() if recipe.quantize.enabled else None,
            )
            paths = {name: file.path(MODEL) for name, file in files.items()}
            teacher = paths.pop("teacher", None)
            return measure(
                recipe, self._data(), models, engines, paths, teacher, folder, self._events
            )

        rooms = ("measure", "engines", "runtime/onnxruntime_session.py", "export/export.py")
        return self._run("measure", Measurements, asks, inputs, rooms, make, target.target)

    def judged(self, target: Target) -> Artifact[Judged]:
        """Which engine of a target ships, and whether it keeps the budgets."""
        measured = self.measured(target)
        asks = {"budgets": _of(target.budgets)}
        rooms = ("gate", "measure/results.py")
        return self._run(
            "gate",
            Judged,
            asks,
            {"measured": measured},
            rooms,
            lambda _: choose_and_judge(target.budgets, measured.facts),
            target.target,
        )

    def bundled(self, target: Target) -> Artifact[BundleFacts] | None:
        """The bundle of a target; None where the engine has yet to be built on the device."""
        if profiles.get(target.target).build == "on_device":
            self.judged(target)
            self._events.say(
                f"There is no engine for {target.target} to bundle before it is built there."
            )
            return None
        measured, judged, engines = self.measured(target), self.judged(target), self.engines(target)
        inputs: Inputs = {
            "data": self.prepared,
            "measured": measured,
            "judged": judged,
            "engines": engines,
        }

        def make(folder: Path) -> BundleFacts:
            facts = judged.facts.measurements
            engine = next(each for each in facts.engines if each.precision == facts.shipped)
            logits = np.load(measured.path(f"logits-{facts.shipped}.npy"), allow_pickle=False)
            golden = clearest_images(logits, _GOLDEN_IMAGES)
            return pack(
                name=self.recipe.name,
                engine=engines.path(engine.file),
                precision=engine.precision,
                runtime=facts.runtime,
                measurements=facts,
                verdict=judged.facts.verdict,
                class_names=facts.class_names,
                image_size=self.prepared.facts.image_size,
                golden_images=np.asarray(self._data().images("test")[golden]),
                golden_logits=logits[golden],
                golden_tolerance=_GOLDEN_TOLERANCE[engine.precision],
                into=folder,
            )

        asks = {"name": self.recipe.name}
        rooms = ("bundle", "runtime")
        return self._run("bundle", BundleFacts, asks, inputs, rooms, make, target.target)

    def report(self, targets: list[Target]) -> Artifact[ReportFacts]:
        """The report over all targets, in every format, also at the top of the run folder."""
        judged = {target.target: self.judged(target) for target in targets}
        bundles = {target.target: self.bundled(target) for target in targets}
        upstream: Inputs = {
            "data": self.prepared,
            "teachers": self.teachers,
            "student": self.student,
        }
        if self.recipe.quantize.enabled:
            upstream["quantized"] = self.quantized
        inputs: Inputs = {
            **upstream,
            **{f"gate {name}": artifact for name, artifact in judged.items()},
            **{f"bundle {name}": artifact for name, artifact in bundles.items() if artifact},
        }
        made = self._runner.results
        times = {(r.stage, r.target): (r.folder, r.reused) for r in made}

        def make(folder: Path) -> ReportFacts:
            return write_report(self.recipe, upstream, judged, bundles, times, folder)

        artifact = self._run(
            "report",
            ReportFacts,
            _of(self.recipe),
            inputs,
            ("report", "pipeline/reporting.py"),
            make,
        )
        publish(artifact, self.folder)
        return artifact

    def exit_code(self) -> ExitCode:
        """The worst verdict among the gates that were reached; 0 where none was."""
        codes = {
            artifact.facts.verdict.outcome.exit_code
            for (name, _), artifact in self._reached.items()
            if name == "gate"
        }
        worst_first = (ExitCode.GATE_FAILED, ExitCode.INCONCLUSIVE)
        return next((code for code in worst_first if code in codes), ExitCode.OK)

    def _exported(self, variant: Variant) -> Artifact[OnnxFacts]:
        recipe = self.recipe
        asks = {
            "variant": variant.name,
            "export": _of(recipe.export),
            "teacher": recipe.teacher.visual.model,
            "student": _of(recipe.student),
            "leave_out": recipe.quantize.leave_out,
        }
        inputs: Inputs = {"data": self.prepared}
        if variant.model == "teacher":
            inputs["teachers"] = self.teachers
        elif variant.precision == "int8":
            inputs["quantized"] = self.quantized
        else:
            inputs["student"] = self.student

        def make(folder: Path) -> OnnxFacts:
            from tmkd_deploy.export.export import export  # noqa: PLC0415

            model: Classifier
            if variant.model == "teacher":
                model = self._teachers().visual
            elif variant.precision == "int8":
                model = self._quantized()
            else:
                model = self._student().classifier
            return export(recipe, self._data(), model, variant, folder, self._events)

        rooms = ("models", "quantize", "export", "engines/placement.py")
        return self._run("export", OnnxFacts, asks, inputs, rooms, make, variant.name)

    def _run(
        self,
        name: str,
        facts_type: type[F],
        asks: dict[str, Any],
        inputs: Inputs,
        rooms: tuple[str, ...],
        make: Callable[[Path], F],
        target: str | None = None,
    ) -> Artifact[F]:
        if (name, target) not in self._reached:
            folder = self.folder / name / target if target else self.folder / name
            stage = Stage(name, folder, facts_type, asks, inputs, rooms, make, target)
            self._reached[name, target] = self._runner.run(stage)
        return self._reached[name, target]

    @functools.cache  # noqa: B019 - a chain lives as long as its run
    def _data(self) -> PreparedData:
        return PreparedData.of(self.prepared)

    def _teachers(self) -> Teachers:
        """Read anew each time, because stages move models about and change them."""
        self._use_threads()
        from tmkd_deploy.distill.teach import Teachers  # noqa: PLC0415

        return Teachers.of(self.teachers, self.recipe, self._data())

    def _student(self) -> Student:
        self._use_threads()
        from tmkd_deploy.distill.distill import Student  # noqa: PLC0415

        return Student.of(self.student, self.recipe, self._data())

    def _quantized(self) -> Classifier:
        from tmkd_deploy.quantize.quantize import read_quantized  # noqa: PLC0415

        return read_quantized(self.quantized, self.recipe, self._data())

    def _use_threads(self) -> None:
        import torch  # noqa: PLC0415

        torch.set_num_threads(self.recipe.threads or os.cpu_count() or 1)


def _of(section: Section) -> dict[str, Any]:
    return section.model_dump(mode="json")


def _student_asks(recipe: Recipe) -> dict[str, Any]:
    return {
        "seed": recipe.seed,
        "views": _of(recipe.views),
        "student": _of(recipe.student),
        "distill": _of(recipe.distill),
    }


def _runtime(target: Target) -> Runtime:
    return runtime(profiles.get(target.target).runtime)


def _version(package: str | None) -> str:
    try:
        return importlib.metadata.version(package) if package else ""
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
