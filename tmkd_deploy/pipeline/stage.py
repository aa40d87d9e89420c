"""What a stage is: what it depends on, and how its artifact is made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel

from tmkd_deploy.artifacts import Artifact, Record

if TYPE_CHECKING:
    from tmkd_deploy.pipeline.run_context import RunContext


class Named(Protocol):
    """What a stage can run for: a target, or one variant of an ONNX file."""

    @property
    def name(self) -> str:
        """Unique among its kind; it names a folder."""


S = TypeVar("S", bound=Named | None)


@dataclass(frozen=True)
class Ref:
    """A stage by its name, and what it runs for where that is one of several."""

    stage: str
    subject: Named | None = None


@dataclass(frozen=True)
class Job:
    """One execution of a stage: the artifacts it reads and the empty folder it writes to."""

    inputs: Mapping[str, Artifact[Any]]
    folder: Path
    fingerprint: str


@dataclass(frozen=True)
class Stage(ABC, Generic[S]):
    """One step of the pipeline, for one run.

    Its artifact is stale once `params`, the content of `inputs`, or any code that its module can
    reach has changed. In a `distributed` stage every process of the group takes part; the others
    run in the main process alone.
    """

    context: RunContext
    subject: S

    name: ClassVar[str]
    record_type: ClassVar[type[Record]]
    distributed: ClassVar[bool] = False

    @abstractmethod
    def params(self) -> dict[str, Any]:
        """Everything it depends on that is no artifact, as JSON-serializable values."""

    @abstractmethod
    def inputs(self) -> dict[str, Ref]:
        """The stages whose artifacts it reads, by the names under which `run` finds them."""

    @abstractmethod
    def run(self, job: Job) -> Record:
        """Write the artifact's files into `job.folder`; the record is what they mean."""

    def accept(self, record: Any) -> None:
        """Refuse to go on with what the stage recorded, whether it was made now or reused.

        The artifact is kept: what a user then permits need not be made again.

        Raises:
            TmkdError: nothing that depends on the stage may run.
        """

    @property
    def hidden(self) -> bool:
        """Whether it only passes something on in this run, so that no reader is told of it."""
        return False

    @property
    def label(self) -> str | None:
        """What it runs for; None for a stage that runs once."""
        subject: Named | None = self.subject
        return subject.name if subject else None

    @property
    def folder(self) -> Path:
        """Where the artifact is kept."""
        return self.context.folder / self.name / (self.label or "")


def to_jsonable(section: BaseModel) -> dict[str, Any]:
    """A section of the recipe as JSON-serializable values."""
    return section.model_dump(mode="json")
