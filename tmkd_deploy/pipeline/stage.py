"""Running one stage: whether its artifact is fresh, and writing it whole or not at all."""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from tmkd_deploy import artifacts
from tmkd_deploy.artifacts import Artifact, Record
from tmkd_deploy.errors import ArtifactError, RequestError
from tmkd_deploy.pipeline.company import Alone

F = TypeVar("F", bound=Record)

_PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True)
class StageResult:
    """What became of one stage; `reused` when its artifact was fresh and nothing ran."""

    stage: str
    target: str | None
    reused: bool
    folder: Path
    seconds: float
    record: Record


@dataclass(frozen=True)
class Stage(Generic[F]):
    """A stage about to run.

    `asks` is what of the recipe it depends on, `inputs` the artifacts, `rooms` the folders and
    files of this package whose code it runs. Any change in them makes its artifact stale. Where
    there are several processes all run a stage that is `shared`, and the first alone the others.
    """

    name: str
    folder: Path
    record_type: type[F]
    asks: dict[str, Any]
    inputs: dict[str, Artifact[Any]]
    rooms: tuple[str, ...]
    make: Callable[[Path], F]
    target: str | None = None
    shared: bool = False

    def fingerprint(self) -> str:
        """A hash over everything the artifact depends on."""
        parts = {
            "stage": self.name,
            "asks": self.asks,
            "inputs": {name: content_hash(artifact) for name, artifact in self.inputs.items()},
            "code": _code_hash(self.rooms),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass
class Runner:
    """Runs stages and remembers what became of each.

    `force` names a stage to run although it is fresh; `only` one to run while all others are taken
    as the run folder holds them, fresh or stale. `company` are the processes of the run.
    """

    force: str | None = None
    only: str | None = None
    company: Alone = field(default_factory=Alone)
    results: list[StageResult] = field(default_factory=list)

    def run(self, stage: Stage[F]) -> Artifact[F]:
        """The stage's artifact, made now unless a fresh one is there."""
        begun = time.monotonic()
        reused = self.company.decided(lambda: self._is_reusable(stage))
        if not reused:
            self._make(stage)
            self.company.decided(lambda: True)  # the artifact is complete
        artifact = artifacts.read(stage.folder, stage.name, stage.record_type)
        self.results.append(
            StageResult(
                stage.name,
                stage.target,
                reused,
                stage.folder,
                time.monotonic() - begun,
                artifact.record,
            )
        )
        return artifact

    def _make(self, stage: Stage[F]) -> None:
        if self.company.leads:
            with artifacts.writing(
                stage.folder,
                kind=stage.name,
                fingerprint=stage.fingerprint(),
                inputs={name: content_hash(artifact) for name, artifact in stage.inputs.items()},
            ) as draft:
                draft.record = stage.make(draft.folder)
        elif stage.shared:
            with tempfile.TemporaryDirectory() as unread:
                stage.make(Path(unread))

    def _is_reusable(self, stage: Stage[Any]) -> bool:
        if stage.name == self.force:
            return False
        if self.only is None:
            return artifacts.is_fresh(stage.folder, stage.fingerprint())
        if stage.name == self.only:
            return False
        if not (stage.folder / artifacts.MANIFEST).exists():
            raise RequestError(
                f"The run folder holds no result of the stage {stage.name!r}, "
                f"which {self.only!r} needs.",
                where=str(stage.folder),
                advice="Run the command again without --only.",
            )
        return True


def content_hash(artifact: Artifact[Any]) -> str:
    """A hash over an artifact's files and facts: the same content gives the same hash."""
    manifest = artifact.manifest
    content = {
        "files": {name: entry.sha256 for name, entry in manifest.files.items()},
        "record": manifest.record,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@functools.cache
def _code_hash(rooms: tuple[str, ...]) -> str:
    """A hash over these folders and files of the package: the version of the code."""
    digest = hashlib.sha256()
    for room in rooms:
        place = _PACKAGE / room
        files = [place] if place.is_file() else sorted(place.rglob("*.py"))
        if not files:
            raise ArtifactError(
                f"The installation is damaged: it lacks {room!r}.",
                where=str(_PACKAGE),
                advice="Install tmkd-deploy again.",
            )
        for path in files:
            digest.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()
