"""The stages that train: what each depends on and what it is given.

Nothing here imports a training library before a stage really has to run, so that a fresh run is
recognised in about a second.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmkd_deploy.artifacts import Artifact, sha256_of
from tmkd_deploy.data.prepare import prepare
from tmkd_deploy.data.prepared import DataRecord, PreparedData
from tmkd_deploy.data.sources import source_fingerprint
from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.pipeline.reach import Inputs, Reach, plain
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.distillation import StudentRecord, TeacherRecord, TextTeacherRecord
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.quantization import QuantizationRecord, SensitivityRecord
from tmkd_deploy.records.types import VIEWS
from tmkd_deploy.targets import catalog as profiles

if TYPE_CHECKING:
    from tmkd_deploy.distill.distill import Student
    from tmkd_deploy.distill.train_teacher import Teachers
    from tmkd_deploy.models.classifier import Classifier

_MODELS = ("models", "training", "distill")


class Training:
    """From images to a quantized student."""

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self.recipe = reach.recipe

    @functools.cached_property
    def prepared(self) -> Artifact[DataRecord]:
        """The images of both splits, decoded and checked."""
        spec = self.recipe.data
        files = "" if self.reach.runner.only else source_fingerprint(spec)
        asks = {**plain(spec), "workers": None, "files": files}  # workers change nothing in it
        return self.reach.stage(
            "prepare",
            DataRecord,
            asks,
            {},
            ("data",),
            lambda f: prepare(spec, f, self.reach.events),
        )

    @functools.cached_property
    def teacher(self) -> Artifact[TeacherRecord]:
        """The visual teacher, trained."""
        recipe = self.recipe
        asks = {
            "seed": recipe.seed,
            "views": plain(recipe.views),
            "teacher": plain(recipe.teacher.visual),
            "augment": recipe.distill.augment,
            "training": recipe.training.what_counts(),
        }

        def make(folder: Path) -> TeacherRecord:
            from tmkd_deploy.distill.train_teacher import train_teacher  # noqa: PLC0415

            self._use_threads()
            self._refuse_what_cannot_be_made()
            trainer_config = self.reach.trainer_config("teach")
            return train_teacher(
                recipe, self.load_data(), folder, self.reach.events, trainer_config
            )

        inputs: Inputs = {"data": self.prepared}
        return self.reach.stage("teach", TeacherRecord, asks, inputs, _MODELS, make, shared=True)

    @functools.cached_property
    def view_scores(self) -> Artifact[TextTeacherRecord]:
        """What the text teacher says of every view of every image.

        A CLIP model looks for itself, so another visual teacher changes nothing for it.
        """
        recipe, text = self.recipe, self.recipe.teacher.text
        inputs: Inputs = {"data": self.prepared}
        if text.embeddings:
            inputs["teacher"] = self.teacher

        def make(folder: Path) -> TextTeacherRecord:
            from tmkd_deploy.distill.score_views import score_views  # noqa: PLC0415
            from tmkd_deploy.recipe.check import check  # noqa: PLC0415

            check(recipe)
            self._use_threads()
            visual = self.load_visual_teacher() if text.embeddings else None
            trainer_config = self.reach.trainer_config("weigh")
            return score_views(
                recipe, self.load_data(), visual, folder, self.reach.events, trainer_config
            )

        asks = _text_asks(recipe)
        return self.reach.stage(
            "weigh", TextTeacherRecord, asks, inputs, _MODELS, make, shared=True
        )

    @functools.cached_property
    def student(self) -> Artifact[StudentRecord]:
        """The distilled student, and the one trained alone."""
        recipe = self.recipe
        inputs: Inputs = {
            "data": self.prepared,
            "teacher": self.teacher,
            "weighed": self.view_scores,
        }

        def make(folder: Path) -> StudentRecord:
            from tmkd_deploy.distill.distill import distill  # noqa: PLC0415
            from tmkd_deploy.recipe.check import check  # noqa: PLC0415

            check(recipe)
            return distill(
                recipe,
                self.load_data(),
                self.load_teachers(),
                folder,
                self.reach.events,
                self.reach.trainer_config("distill"),
            )

        asks = student_asks(recipe)
        return self.reach.stage("distill", StudentRecord, asks, inputs, _MODELS, make, shared=True)

    @functools.cached_property
    def sensitivity(self) -> Artifact[SensitivityRecord]:
        """What quantizing each layer costs, on the grid of the first target."""
        recipe, quant_scheme = self.recipe, self._placement()
        asks = {
            "seed": recipe.seed,
            "teacher": recipe.teacher.visual.model,
            "student": plain(recipe.student),
            "calibration": plain(recipe.quantize.calibration),
            "leave_out": recipe.quantize.exclude_layers,
            "quant_scheme": quant_scheme.value,
        }
        inputs: Inputs = {"data": self.prepared, "teacher": self.teacher, "student": self.student}

        def make(_: Path) -> SensitivityRecord:
            from tmkd_deploy.quantize.sensitivity import rank_layers  # noqa: PLC0415

            return rank_layers(
                recipe,
                self.load_data(),
                self.load_visual_teacher(),
                self.load_student(),
                quant_scheme,
                self.reach.events,
            )

        rooms = (
            "models",
            "training",
            "quantize",
            "data/class_balanced.py",
            "records/quant_scheme.py",
        )
        return self.reach.stage("sensitivity", SensitivityRecord, asks, inputs, rooms, make)

    @functools.cached_property
    def quantized(self) -> Artifact[QuantizationRecord]:
        """The student fine-tuned through fake quantizers, on the grid of the first target."""
        recipe, quant_scheme = self.recipe, self._placement()
        asks = {
            **student_asks(recipe),
            # what is compared with it changes nothing in it, nor does how layers were chosen
            "quantize": {**plain(recipe.quantize), "compare": None, "fallback": None},
            "quant_scheme": quant_scheme.value,
        }
        inputs: Inputs = {
            "data": self.prepared,
            "teacher": self.teacher,
            "weighed": self.view_scores,
            "student": self.student,
        }

        def make(folder: Path) -> QuantizationRecord:
            from tmkd_deploy.quantize.quantize import quantize  # noqa: PLC0415

            return quantize(
                recipe,
                self.load_data(),
                self.load_teachers(),
                self.load_student(),
                quant_scheme,
                folder,
                self.reach.events,
                self.reach.trainer_config("quantize"),
            )

        rooms = (*_MODELS, "quantize", "records/quant_scheme.py")
        return self.reach.stage(
            "quantize", QuantizationRecord, asks, inputs, rooms, make, shared=True
        )

    def _placement(self) -> QuantScheme:
        return runtime(profiles.get(self.recipe.targets[0].target).runtime).quant_scheme

    def all_models(self) -> None:
        """Everything that is trained, for what comes after."""
        _ = self.student
        if self.recipe.quantize.enabled:
            _ = self.quantized

    def _refuse_what_cannot_be_made(self) -> None:
        """Make the other models once, so that a wrong name or file is told before teaching."""
        from tmkd_deploy.distill import text_teacher  # noqa: PLC0415
        from tmkd_deploy.distill.distill import new_student  # noqa: PLC0415
        from tmkd_deploy.distill.text_embeddings import read_embeddings  # noqa: PLC0415
        from tmkd_deploy.models import weights  # noqa: PLC0415
        from tmkd_deploy.recipe.check import check  # noqa: PLC0415

        recipe, data = self.recipe, self.load_data()
        check(recipe)
        student, _ = new_student(recipe, data)
        weights.initialise(student, recipe.student.model, recipe.student.weights)
        if recipe.teacher.text.embeddings:
            read_embeddings(recipe.teacher.text.embeddings, data.class_names)
        else:
            text_teacher.create(recipe.teacher.text, recipe.prompts, data.class_names)

    @functools.cache  # noqa: B019 - it lives as long as its run
    def load_data(self) -> PreparedData:
        """Images and labels of both splits."""
        return PreparedData.of(self.prepared)

    def load_teachers(self) -> Teachers:
        """The teachers, read anew each time, because stages move and change models."""
        self._use_threads()
        from tmkd_deploy.distill.train_teacher import Teachers  # noqa: PLC0415

        return Teachers.of(self.teacher, self.view_scores, self.recipe, self.load_data())

    def load_visual_teacher(self) -> Classifier:
        """The visual teacher alone, read anew each time."""
        from tmkd_deploy.distill.train_teacher import read_visual  # noqa: PLC0415

        return read_visual(self.teacher, self.recipe, self.load_data())

    def load_student(self) -> Student:
        """The distilled student, read anew each time."""
        self._use_threads()
        from tmkd_deploy.distill.distill import Student  # noqa: PLC0415

        return Student.of(self.student, self.recipe, self.load_data())

    def load_quantized(self) -> Classifier:
        """The quantized student, read anew each time."""
        from tmkd_deploy.quantize.quantize import read_quantized  # noqa: PLC0415

        return read_quantized(self.quantized, self.recipe, self.load_data())

    def load_control(self) -> Classifier | None:
        """The student fine-tuned on without quantizers, where there is one, read anew each time."""
        from tmkd_deploy.quantize.quantize import read_control  # noqa: PLC0415

        return read_control(self.quantized, self.recipe, self.load_data())

    def _use_threads(self) -> None:
        import torch  # noqa: PLC0415

        processes_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        share = max(1, (os.cpu_count() or 1) // processes_here)
        torch.set_num_threads(self.recipe.threads or share)


def _text_asks(recipe: Recipe) -> dict[str, Any]:
    """Files count by their content, prompts by their words, the seed only where it is drawn on."""
    text = recipe.teacher.text
    asks: dict[str, Any] = {"views": plain(recipe.views), "text": plain(text)}
    for key, path in (("checkpoint", text.checkpoint), ("embeddings", text.embeddings)):
        asks["text"][key] = sha256_of(path) if path and path.is_file() else None
    if not text.embeddings:
        asks["prompts"] = {view: getattr(recipe.prompts, view) for view in VIEWS}
    if text.epochs:
        asks["seed"], asks["training"] = recipe.seed, recipe.training.what_counts()
    return asks


def student_asks(recipe: Recipe) -> dict[str, Any]:
    """What of the recipe the student depends on, what its teachers depend on apart."""
    return {
        "seed": recipe.seed,
        "views": plain(recipe.views),
        "student": plain(recipe.student),
        "distill": plain(recipe.distill),
        "training": recipe.training.what_counts(),
    }
