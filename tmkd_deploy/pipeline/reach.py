"""Reaching stages: each runs at most once in a run, in the folder that its name gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tmkd_deploy import artifacts
from tmkd_deploy.artifacts import Artifact, Record
from tmkd_deploy.errors import ArtifactError, ExitCode
from tmkd_deploy.events import Events
from tmkd_deploy.pipeline.attached import Attached
from tmkd_deploy.pipeline.stage import Runner, Stage
from tmkd_deploy.recipe.schema import Recipe, Section

if TYPE_CHECKING:
    from tmkd_deploy.training.trainer_config import TrainerConfig

F = TypeVar("F", bound=Record)
Inputs = dict[str, Artifact[Any]]

_CHECKPOINTS = "checkpoints"
_LOGS = "logs"


class Reach:
    """What every stage of a run shares: the recipe, the run folder, who listens."""

    def __init__(self, recipe: Recipe, folder: Path, runner: Runner, events: Events) -> None:
        self.recipe = recipe
        self.folder = folder
        self.runner = runner
        self.events = events
        self.attached = Attached(events)
        self._reached: dict[tuple[str, str | None], Artifact[Any]] = {}
        self._fingerprints: dict[str, str] = {}

    def stage(
        self,
        name: str,
        record_type: type[F],
        asks: dict[str, Any],
        inputs: Inputs,
        rooms: tuple[str, ...],
        make: Callable[[Path], F],
        target: str | None = None,
        shared: bool = False,
    ) -> Artifact[F]:
        """The artifact of a stage, made now unless a fresh one is there; see `Stage`."""
        if (name, target) not in self._reached:
            folder = self.folder / name / target if target else self.folder / name
            self._warn_of_an_unbelievable_manifest(folder, name)
            stage = Stage(name, folder, record_type, asks, inputs, rooms, make, target, shared)
            if shared:
                self._fingerprints[name] = stage.fingerprint()
                if self.runner.force == name:
                    self._remove_checkpoints(name)
            self._reached[name, target] = self.runner.run(stage)
            if shared:
                self._remove_checkpoints(name)
        return self._reached[name, target]

    def kept(self, name: str, record_type: type[F], target: str) -> Artifact[F] | None:
        """The artifact as the run folder holds it, where only a later stage is to run.

        Nothing that it depends on is looked at then, an attached device for one.
        """
        if self.runner.only in (None, name):
            return None
        return self.stage(name, record_type, {}, {}, (), never, target)

    def reached(self, name: str) -> Artifact[Any] | None:
        """The artifact of a stage that was reached before; None where it was not."""
        return self._reached.get((name, None))

    def trainer_config(self, stage: str) -> TrainerConfig:
        """How the trainings of a shared stage are conducted, its checkpoints included."""
        from tmkd_deploy.training.checkpoint import Checkpoints  # noqa: PLC0415
        from tmkd_deploy.training.tracking import Tracking  # noqa: PLC0415
        from tmkd_deploy.training.trainer_config import TrainerConfig  # noqa: PLC0415

        asked, leads = self.recipe.training, self.runner.company.leads
        return TrainerConfig(
            asked.precision,
            asked.compile,
            Checkpoints(
                self.folder / _CHECKPOINTS,
                stage,
                self._fingerprints[stage],
                asked.checkpoint_minutes,
                asked.checkpoint_steps,
                writes=leads,
            ),
            Tracking(
                asked.trackers if leads else (), self.folder / _LOGS / stage, self.recipe.name
            ),
        )

    def _remove_checkpoints(self, stage: str) -> None:
        if self.runner.company.leads:
            for path in (self.folder / _CHECKPOINTS).glob(f"{stage}-*.pt"):
                path.unlink(missing_ok=True)

    def _warn_of_an_unbelievable_manifest(self, folder: Path, name: str) -> None:
        if self.runner.only or not (folder / artifacts.MANIFEST).exists():
            return
        try:
            artifacts.read_manifest(folder)
        except ArtifactError as error:
            self.events.warn(f"{folder}: {error.problem} The stage {name} is done again.")

    def exit_code(self) -> ExitCode:
        """The worst verdict among the gates that were reached; 0 where none was."""
        codes = {
            artifact.record.verdict.outcome.exit_code
            for (name, _), artifact in self._reached.items()
            if name == "gate"
        }
        worst_first = (ExitCode.GATE_FAILED, ExitCode.INCONCLUSIVE)
        return next((code for code in worst_first if code in codes), ExitCode.OK)


def never(_: Path) -> Any:
    """What makes a stage that is only read."""
    raise AssertionError("a run with --only makes nothing on the way")


def plain(section: Section) -> dict[str, Any]:
    """A section of the recipe as JSON-serializable values."""
    return section.model_dump(mode="json")
