"""The pipeline from Python: a recipe, and models that a program hands over.

A recipe names what is installed and runs no code of its own. A program can also give modules:

    project = Project("recipe.yaml", student=MyNet(), teacher=my_teacher)
    project.run("bundle")
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tmkd_deploy.artifacts import Record
from tmkd_deploy.data.prepared import DataRecord
from tmkd_deploy.errors import RequestError, TmkdError
from tmkd_deploy.events import Events, Task
from tmkd_deploy.pipeline.run import RunResult, run
from tmkd_deploy.pipeline.stage_graph import STAGES
from tmkd_deploy.printable import printable
from tmkd_deploy.recipe import load
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.bundle import BundleRecord
from tmkd_deploy.records.distillation import StudentRecord, TeacherRecord
from tmkd_deploy.records.engine import EngineRecord
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.records.onnx_model import OnnxRecord
from tmkd_deploy.records.quantization import QuantizationRecord
from tmkd_deploy.records.types import height_and_width
from tmkd_deploy.records.verdict import GateRecord
from tmkd_deploy.suggestions import did_you_mean

if TYPE_CHECKING:
    from torch import nn

    Model = nn.Module | Callable[[int, tuple[int, int]], nn.Module]

__all__ = ["LoggedEvents", "Project", "RunResult", "TmkdError"]

R = TypeVar("R", bound=Record)
_LOG = logging.getLogger("tmkd_deploy")


class Project:
    """A recipe with the models of a program, and the steps from images to bundles.

    Every step first brings up to date what it depends on, and reuses what is up to date: results
    lie in `runs/<name>`, as those of the command line do. A step raises `TmkdError`, which says
    what is wrong, where, and what to do.

    Attributes:
        recipe: the checked recipe, as it was given.
        runs: the folder of run folders.
    """

    def __init__(
        self,
        recipe: Recipe | Mapping[str, Any] | Path | str,
        *,
        student: Model | None = None,
        teacher: Model | None = None,
        runs: Path | str = "runs",
        events: Events | None = None,
        version: str | None = None,
    ) -> None:
        """Check the recipe.

        Args:
            recipe: a file, its content as a mapping, or a checked recipe. The paths in a mapping
                start at the working directory.
            student: a module, or a factory that takes the number of classes and (height, width).
                It replaces `student.model`, and maps RGB images [N, 3, H, W] in [0, 1] to logits
                [N, C]. If it has lists `mean` and `std`, these normalise the images before. It is
                copied and never changed.
            teacher: the same for `teacher.visual.model`.
            runs: the folder of run folders.
            events: receives progress, messages and warnings; by default, they are logged.
            version: stands for the source of both modules: change it when their code changes. By
                default, the files are read in which their classes are written.

        Raises:
            TmkdError: the recipe is not valid, or a model is no module.
        """
        self.recipe: Recipe = _checked(recipe)
        self.runs: Path = Path(runs)
        for name, model in (("student", student), ("teacher", teacher)):
            if model is not None and not callable(model):
                raise RequestError(
                    f"The {name} is {type(model).__name__}, not a module or a function that "
                    "makes one.",
                    where=name,
                    advice="Name a published model in the recipe, or give a `torch.nn.Module`.",
                )
        self._student, self._teacher = student, teacher
        self._events = events or LoggedEvents()
        self._version = version

    def run(
        self,
        goal: str = "report",
        *,
        targets: Sequence[str] | None = None,
        device: str | None = None,
        force: bool = False,
    ) -> RunResult:
        """Bring a goal up to date, and all that it depends on.

        Args:
            goal: a stage, such as "distill", "bundle" or "report".
            targets: names of targets; None for all of the recipe.
            device: address of the device that the one requested target is attached to.
            force: run the goal's own stage although it is up to date.

        Raises:
            TmkdError: there is no such stage, or what a stage raises; finished stages are kept.
        """
        if goal not in STAGES:
            raise RequestError(
                f"There is no stage {printable(goal)!r}.",
                where="goal",
                advice=did_you_mean(goal, STAGES) or f"The stages are {', '.join(STAGES)}.",
            )
        with self._named_recipe() as recipe:
            return run(
                recipe,
                runs=self.runs,
                goal=goal,
                targets=targets,
                device=device,
                events=self._events,
                force=force,
            )

    def prepare(self) -> DataRecord:
        """Decode, check and split the images."""
        return self._one("prepare", DataRecord)

    def train_teacher(self) -> TeacherRecord:
        """Fine-tune the visual teacher."""
        return self._one("train_teacher", TeacherRecord)

    def distill(self) -> StudentRecord:
        """Distil the student, and train the baseline."""
        return self._one("distill", StudentRecord)

    def quantize(self) -> QuantizationRecord:
        """Calibrate the student, and fine-tune it through fake quantizers."""
        return self._one("quantize", QuantizationRecord)

    def export(self) -> dict[str, OnnxRecord]:
        """Write the ONNX files, by variant."""
        return self._each("export", OnnxRecord)

    def build(self) -> dict[str, EngineRecord]:
        """Build the engines, by target."""
        return self._each("build", EngineRecord)

    def measure(self) -> dict[str, Measurements]:
        """Measure accuracy and latency, by target."""
        return self._each("measure", Measurements)

    def gate(self) -> dict[str, GateRecord]:
        """Decide on the budgets, by target."""
        return self._each("gate", GateRecord)

    def bundle(self) -> dict[str, BundleRecord]:
        """Pack what ships, by target; the files lie in `runs/<name>/bundle/<target>`."""
        return self._each("bundle", BundleRecord)

    def _one(self, goal: str, kind: type[R]) -> R:
        (found,) = self._records(goal, kind).values()
        return found

    def _each(self, goal: str, kind: type[R]) -> dict[str, R]:
        return {name or "": record for name, record in self._records(goal, kind).items()}

    def _records(self, goal: str, kind: type[R]) -> dict[str | None, R]:
        stages = [each for each in self.run(goal).stages if each.stage == goal]
        return {each.target: each.record for each in stages if isinstance(each.record, kind)}

    @contextlib.contextmanager
    def _named_recipe(self) -> Iterator[Recipe]:
        """The recipe, in which the given modules have names for the time of a run."""
        recipe = self.recipe
        with contextlib.ExitStack() as stack:

            def name(model: Model) -> dict[str, str]:
                from tmkd_deploy.models.given_modules import given  # noqa: PLC0415 - torch

                size = height_and_width(recipe.data.image_size)
                return {"model": stack.enter_context(given(model, size, self._version))}

            if self._student is not None:
                student = recipe.student.model_copy(update=name(self._student))
                recipe = recipe.model_copy(update={"student": student})
            if self._teacher is not None:
                visual = recipe.teacher.visual.model_copy(update=name(self._teacher))
                teacher = recipe.teacher.model_copy(update={"visual": visual})
                recipe = recipe.model_copy(update={"teacher": teacher})
            yield recipe


class LoggedEvents:
    """Passes messages and warnings on to the logger "tmkd_deploy"; progress is not logged."""

    def begin(self, description: str, total: int, unit: str) -> Task:
        """Log that a task begins."""
        _LOG.info("%s: %s %s", description, total, unit)
        return self

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Log nothing."""

    def finish(self) -> None:
        """Log nothing."""

    def say(self, message: str) -> None:
        """Log a message at the level INFO."""
        _LOG.info(message)

    def warn(self, message: str) -> None:
        """Log a warning."""
        _LOG.warning(message)


def _checked(recipe: Recipe | Mapping[str, Any] | Path | str) -> Recipe:
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, Mapping):
        text = json.dumps(recipe, default=str)  # JSON is YAML
        return load.from_text(text, Path("recipe.yaml"))
    return load.load(Path(recipe))
