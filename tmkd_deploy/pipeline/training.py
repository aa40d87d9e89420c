"""The stages that train: what each depends on and what it is given.

Nothing here imports a training library before a stage really has to run, so that a fresh run is
recognised in about a second.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmkd_deploy.artifacts import Artifact
from tmkd_deploy.data.prepare import prepare
from tmkd_deploy.data.prepared import DataFacts, PreparedData
from tmkd_deploy.data.sources import source_fingerprint
from tmkd_deploy.distill.facts import StudentFacts, TeacherFacts
from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.pipeline.reach import Inputs, Reach, plain
from tmkd_deploy.quantize.facts import QuantizationFacts
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.targets import profile as profiles

if TYPE_CHECKING:
    from tmkd_deploy.distill.distill import Student
    from tmkd_deploy.distill.teach import Teachers
    from tmkd_deploy.models.classifier import Classifier

_MODELS = ("models", "distill")


class Training:
    """From images to a quantized student."""

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self.recipe = reach.recipe

    @functools.cached_property
    def prepared(self) -> Artifact[DataFacts]:
        """The images of both splits, decoded and checked."""
        spec = self.recipe.data
        files = "" if self.reach.runner.only else source_fingerprint(spec)
        asks = {**plain(spec), "workers": None, "files": files}  # workers change nothing in it
        return self.reach.stage(
            "prepare", DataFacts, asks, {}, ("data",), lambda f: prepare(spec, f, self.reach.events)
        )

    @functools.cached_property
    def teachers(self) -> Artifact[TeacherFacts]:
        """Both teachers, trained."""
        recipe = self.recipe
        asks = {
            "seed": recipe.seed,
            "views": plain(recipe.views),
            "prompts": plain(recipe.prompts),
            "teacher": plain(recipe.teacher),
            "augment": recipe.distill.augment,
        }

        def make(folder: Path) -> TeacherFacts:
            from tmkd_deploy.distill.teach import teach  # noqa: PLC0415

            self._refuse_what_cannot_be_made()
            return teach(recipe, self.load_data(), folder, self.reach.events)

        return self.reach.stage("teach", TeacherFacts, asks, {"data": self.prepared}, _MODELS, make)

    @functools.cached_property
    def student(self) -> Artifact[StudentFacts]:
        """The distilled student, and the one trained alone."""
        recipe = self.recipe
        inputs: Inputs = {"data": self.prepared, "teachers": self.teachers}

        def make(folder: Path) -> StudentFacts:
            from tmkd_deploy.distill.distill import distill  # noqa: PLC0415
            from tmkd_deploy.recipe.check import check  # noqa: PLC0415

            check(recipe)
            return distill(
                recipe, self.load_data(), self.load_teachers(), folder, self.reach.events
            )

        return self.reach.stage(
            "distill", StudentFacts, _student_asks(recipe), inputs, _MODELS, make
        )

    @functools.cached_property
    def quantized(self) -> Artifact[QuantizationFacts]:
        """The student fine-tuned through fake quantizers, on the grid of the first target."""
        recipe = self.recipe
        placement = runtime(profiles.get(recipe.targets[0].target).runtime).placement
        asks = {
            **_student_asks(recipe),
            "quantize": plain(recipe.quantize),
            "placement": placement.value,
        }
        inputs: Inputs = {
            "data": self.prepared,
            "teachers": self.teachers,
            "student": self.student,
        }

        def make(folder: Path) -> QuantizationFacts:
            from tmkd_deploy.quantize.quantize import quantize  # noqa: PLC0415

            models = self.load_teachers(), self.load_student()
            return quantize(recipe, self.load_data(), *models, placement, folder, self.reach.events)

        rooms = (*_MODELS, "quantize", "engines/placement.py")
        return self.reach.stage("quantize", QuantizationFacts, asks, inputs, rooms, make)

    def _refuse_what_cannot_be_made(self) -> None:
        """Make the other models once, so that a wrong name or file is told before teaching."""
        from tmkd_deploy.distill import text_teacher  # noqa: PLC0415
        from tmkd_deploy.distill.distill import new_student  # noqa: PLC0415
        from tmkd_deploy.models import weights  # noqa: PLC0415
        from tmkd_deploy.recipe.check import check  # noqa: PLC0415

        recipe, data = self.recipe, self.load_data()
        check(recipe)
        student, _ = new_student(recipe, data)
        weights.initialise(student, recipe.student.model, recipe.student.weights)
        text_teacher.create(recipe.teacher.text, recipe.prompts, data.class_names)

    @functools.cache  # noqa: B019 - it lives as long as its run
    def load_data(self) -> PreparedData:
        """Images and labels of both splits."""
        return PreparedData.of(self.prepared)

    def load_teachers(self) -> Teachers:
        """The teachers, read anew each time, because stages move and change models."""
        self._use_threads()
        from tmkd_deploy.distill.teach import Teachers  # noqa: PLC0415

        return Teachers.of(self.teachers, self.recipe, self.load_data())

    def load_student(self) -> Student:
        """The distilled student, read anew each time."""
        self._use_threads()
        from tmkd_deploy.distill.distill import Student  # noqa: PLC0415

        return Student.of(self.student, self.recipe, self.load_data())

    def load_quantized(self) -> Classifier:
        """The quantized student, read anew each time."""
        from tmkd_deploy.quantize.quantize import read_quantized  # noqa: PLC0415

        return read_quantized(self.quantized, self.recipe, self.load_data())

    def _use_threads(self) -> None:
        import torch  # noqa: PLC0415

        torch.set_num_threads(self.recipe.threads or os.cpu_count() or 1)


def _student_asks(recipe: Recipe) -> dict[str, Any]:
    return {
        "seed": recipe.seed,
        "views": plain(recipe.views),
        "student": plain(recipe.student),
        "distill": plain(recipe.distill),
    }
