"""What a run will do, before anything is made: which stages run, and about how long they take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tmkd_deploy import artifacts
from tmkd_deploy.artifacts import Artifact
from tmkd_deploy.data.sources import read_source
from tmkd_deploy.errors import ArtifactError
from tmkd_deploy.pipeline.planned_stage import PlannedStage
from tmkd_deploy.pipeline.run_context import RunContext
from tmkd_deploy.pipeline.runner import fingerprint
from tmkd_deploy.pipeline.stage import Ref, Stage
from tmkd_deploy.pipeline.stage_graph import STAGES

_TRAINING = ("train_teacher", "distill", "quantize")


def plan(context: RunContext, refs: Iterable[Ref]) -> list[PlannedStage]:
    """The stages that `refs` depend on, and those themselves, in the order in which they run."""
    walk = _Walk(context)
    for ref in refs:
        walk.visit(ref)
    stale = [stage for stage, artifact in walk.stages if artifact is None]
    seconds = _training_seconds(walk) if any(each.name in _TRAINING for each in stale) else {}
    return [
        PlannedStage(
            stage.name,
            stage.label,
            runs=artifact is None,
            seconds=seconds.get(stage.name, _last_seconds(stage)) if artifact is None else 0.0,
        )
        for stage, artifact in walk.stages
        if not stage.hidden
    ]


class _Walk:
    """The stages in their order, each with its artifact if that is up to date."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self.stages: list[tuple[Stage[Any], Artifact[Any] | None]] = []
        self._seen: dict[tuple[str, str | None], Artifact[Any] | None] = {}

    def visit(self, ref: Ref) -> Artifact[Any] | None:
        stage = STAGES[ref.stage](self.context, ref.subject)
        key = stage.name, stage.label
        if key not in self._seen:
            inputs = {name: self.visit(each) for name, each in stage.inputs().items()}
            self._seen[key] = self._fresh(stage, inputs)
            self.stages.append((stage, self._seen[key]))
        return self._seen[key]

    def _fresh(
        self, stage: Stage[Any], inputs: dict[str, Artifact[Any] | None]
    ) -> Artifact[Any] | None:
        """The artifact of `stage` if it is up to date; not if an input is yet to be made."""
        known = {name: each for name, each in inputs.items() if each is not None}
        if len(known) < len(inputs) or stage.name == self.context.force:
            return None
        try:
            manifest = artifacts.read_manifest(stage.folder)
        except ArtifactError:
            return None
        # the files are verified when the stage is reached
        fresh = manifest.fingerprint == fingerprint(stage, known)
        return Artifact(stage.folder, manifest, None) if fresh else None


def _training_seconds(walk: _Walk) -> dict[str, float]:
    from tmkd_deploy.pipeline.training_time import training_seconds
    from tmkd_deploy.recipe.check import check

    recipe = walk.context.recipe
    check(recipe)
    prepared = next(artifact for stage, artifact in walk.stages if stage.name == "prepare")
    if prepared is not None:
        record = prepared.manifest.record
        return training_seconds(recipe, record["train_images"], len(record["class_names"]))
    dataset = read_source(recipe.data)
    images = dataset.splits.count("train") if dataset.splits else len(dataset.keys)
    fold = recipe.data.fold
    held_out = {
        "test": 1 / fold.of if fold else recipe.data.test_fraction,
        "val": recipe.data.val_fraction,
    }
    for split, fraction in held_out.items():
        if split not in dataset.splits:
            images = round(images * (1 - fraction))
    return training_seconds(recipe, images, len(dataset.class_names))


def _last_seconds(stage: Stage[Any]) -> float | None:
    """How long the stage took when its present artifact was made."""
    try:
        return artifacts.read_manifest(stage.folder).seconds
    except ArtifactError:
        return None
