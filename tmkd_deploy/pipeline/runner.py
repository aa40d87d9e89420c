"""Walking the stage graph: each stage runs at most once in a run, and only if it is stale."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tmkd_deploy import artifacts
from tmkd_deploy.artifacts import Artifact
from tmkd_deploy.code_hash import code_hash
from tmkd_deploy.errors import ArtifactError, RequestError
from tmkd_deploy.pipeline.planned_stage import remaining
from tmkd_deploy.pipeline.run_context import RunContext, StageResult
from tmkd_deploy.pipeline.stage import Job, Ref, Stage
from tmkd_deploy.pipeline.stage_graph import STAGES
from tmkd_deploy.pipeline.training_job import remove_checkpoints


def artifact(context: RunContext, ref: Ref) -> Artifact[Any]:
    """The artifact of a stage; the stages it depends on are brought up to date first."""
    return resolve(STAGES[ref.stage](context, ref.subject))


def number_stages(context: RunContext, refs: Iterable[Ref]) -> None:
    """Number the stages that `refs` depend on, and those themselves, in the order they will run."""
    for ref in refs:
        stage = STAGES[ref.stage](context, ref.subject)
        if _key(stage) not in context.positions:
            if not _is_only_read(stage):
                number_stages(context, stage.inputs().values())
            if not stage.hidden:
                context.positions.setdefault(_key(stage), len(context.positions) + 1)


def resolve(stage: Stage[Any]) -> Artifact[Any]:
    """The artifact of `stage`, made now unless a fresh one exists.

    Raises:
        RequestError: the run is limited to one stage, and the run folder lacks what that reads.
        TmkdError: whatever the stage raises.
    """
    context = stage.context
    key = _key(stage)
    if key not in context.artifacts:
        context.artifacts[key] = _load_existing(stage) if _is_only_read(stage) else _update(stage)
    return context.artifacts[key]


def fingerprint(stage: Stage[Any], inputs: dict[str, Artifact[Any]]) -> str:
    """A SHA-256 over everything that the stage's artifact depends on."""
    parts = {
        "stage": stage.name,
        "params": stage.params(),
        "inputs": {name: content_hash(each) for name, each in inputs.items()},
        "code": code_hash(type(stage).__module__),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def content_hash(artifact: Artifact[Any]) -> str:
    """A hash over an artifact's files and record: the same content gives the same hash."""
    manifest = artifact.manifest
    content = {
        "files": {name: entry.sha256 for name, entry in manifest.files.items()},
        "record": manifest.record,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _key(stage: Stage[Any]) -> tuple[str, str | None]:
    return stage.name, stage.label


def _is_only_read(stage: Stage[Any]) -> bool:
    return stage.context.only not in (None, stage.name)


def _load_existing(stage: Stage[Any]) -> Artifact[Any]:
    """The artifact as the run folder holds it, fresh or stale."""
    if not (stage.folder / artifacts.MANIFEST).exists():
        raise RequestError(
            f"{stage.context.only!r} needs the result of the stage {stage.name!r}, "
            "which this run folder lacks.",
            where=str(stage.folder),
            advice="Run the command again without --only.",
        )
    return _finish(stage, reused=True, begun=time.monotonic())


def _update(stage: Stage[Any]) -> Artifact[Any]:
    context = stage.context
    inputs = {name: artifact(context, ref) for name, ref in stage.inputs().items()}
    begun = time.monotonic()
    _warn_of_unreadable_manifest(stage)
    job_fingerprint = fingerprint(stage, inputs)
    if context.force == stage.name and stage.distributed:
        remove_checkpoints(context, stage.name)
    reused = context.process_group.broadcast(
        lambda: (
            stage.name not in (context.force, context.only)
            and artifacts.is_fresh(stage.folder, job_fingerprint)
        )
    )
    if not reused:
        if position := context.positions.get(_key(stage)):
            name = f"{stage.name} {stage.label or ''}".rstrip()
            left = remaining(context.planned, *_key(stage))
            context.events.say(f"Stage {position} of {len(context.positions)}: {name}{left}")
        _make(stage, inputs, job_fingerprint)
        context.process_group.barrier()
    if stage.distributed:
        remove_checkpoints(context, stage.name)
    made = _finish(stage, reused, begun)
    stage.accept(made.record)
    return made


def _make(stage: Stage[Any], inputs: dict[str, Artifact[Any]], job_fingerprint: str) -> None:
    if stage.context.process_group.is_main_process:
        with artifacts.writing(
            stage.folder,
            kind=stage.name,
            fingerprint=job_fingerprint,
            inputs={name: content_hash(each) for name, each in inputs.items()},
        ) as draft:
            draft.record = stage.run(Job(inputs, draft.folder, job_fingerprint))
    elif stage.distributed:
        with tempfile.TemporaryDirectory() as discarded:
            stage.run(Job(inputs, Path(discarded), job_fingerprint))


def _finish(stage: Stage[Any], reused: bool, begun: float) -> Artifact[Any]:
    read = artifacts.read(stage.folder, stage.name, stage.record_type)
    seconds = time.monotonic() - begun
    stage.context.results.append(
        StageResult(
            stage.name, stage.label, reused, stage.folder, seconds, read.record, stage.hidden
        )
    )
    return read


def _warn_of_unreadable_manifest(stage: Stage[Any]) -> None:
    if stage.context.only or not (stage.folder / artifacts.MANIFEST).exists():
        return
    try:
        artifacts.read_manifest(stage.folder)
    except ArtifactError as error:
        stage.context.events.warn(
            f"{stage.folder}: {error.problem} The stage {stage.name} runs again."
        )
