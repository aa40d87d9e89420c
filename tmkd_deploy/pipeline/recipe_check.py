"""What `recipe check` looks at: whether a run of a recipe would get as far as training."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from tmkd_deploy.data.elpv import LICENCE
from tmkd_deploy.data.samples import EncodedDataset
from tmkd_deploy.data.sources import FILES, read_source
from tmkd_deploy.data.unused import described
from tmkd_deploy.engines.variants import refuse_unreadable_opset
from tmkd_deploy.errors import DataError, EnvironmentProblem, MissingExtra, RequestError, TmkdError
from tmkd_deploy.gate.gate import refuse_unknown_classes
from tmkd_deploy.pipeline.resolve_targets import (
    computes_in_bf16,
    precisions_of,
    race_of,
    refuse_frames_elsewhere,
    with_own_precisions,
)
from tmkd_deploy.recipe import check as names
from tmkd_deploy.recipe.schema import Data, Recipe, Student, Target, VisualTeacher
from tmkd_deploy.records.class_names import refuse_unknown_class
from tmkd_deploy.targets import catalog
from tmkd_deploy.targets.racing import refuse_unknown_runtimes
from tmkd_deploy.targets.resolve import require_this_machine

T = TypeVar("T")

_SHARDS_READ_UP_TO = 4 << 30  # bytes; the headers of all members are read
_CORRECT = "Correct the path in the recipe, or put the file there."


@dataclass(frozen=True)
class Checked:
    """What was looked at and found sound, and what deserves a second look; one sentence each."""

    checked: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check_recipe(recipe: Recipe) -> Checked:
    """Resolve targets, list the data, and build the models without memory for their weights.

    Raises:
        RequestError, DataError: the recipe cannot run; all problems are listed.
    """
    return _Check(recipe).run()


class _Check:
    """Collects what all checks say, so that one call names every problem."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._result = Checked()
        self._errors: list[TmkdError] = []

    def run(self) -> Checked:
        recipe = self._recipe
        missing = names.missing_files(recipe)
        self._errors += [
            DataError(f"{path} does not exist.", where=key, advice=_CORRECT)
            for key, path in missing.items()
        ]
        for number, target in enumerate(recipe.targets):
            self._attempt(f"targets.{number}", partial(self._target, target))
        data = None
        if not any(key.startswith("data.") for key in missing):
            data = self._attempt("data", self._data)
        if data:
            self._class_names(data.class_names)
        if self._attempt("", self._names) and importlib.util.find_spec("timm"):
            self._models(len(data.class_names) if data else 2, set(missing))
            embeddings = recipe.teacher.text.embeddings
            if data and embeddings and "teacher.text.embeddings" not in missing:
                self._attempt("teacher.text.embeddings", partial(self._embeddings, data))
        _raise_for(self._errors)
        return self._result

    def _class_names(self, known: list[str]) -> None:
        guarded, key = self._recipe.decision.guarded_class, "decision.guarded_class"
        if guarded is not None:
            self._attempt(key, partial(refuse_unknown_class, guarded, known, key))
        for target in self._recipe.targets:
            check = partial(refuse_unknown_classes, target.budgets, known, target.target)
            self._attempt(f"targets.{target.target}.budgets", check)

    def _attempt(self, where: str, check: Callable[[], T]) -> T | None:
        """What `check` returns; None if it fails, or if a package that it needs is missing."""
        try:
            return check()
        except MissingExtra as error:
            self._result.warnings.append(
                f"{where or 'The recipe'} could not be checked. {error.problem} {error.advice}"
            )
        except TmkdError as error:
            if where.endswith("weights") and error.where:
                error.where = f"{where}: {error.where}"
            error.where = error.where or where or None
            self._errors.append(error)
        return None

    def _target(self, target: Target) -> None:
        profile = catalog.get(target.target)
        refuse_unreadable_opset(profile, self._recipe.export.opset)
        refuse_frames_elsewhere(target, profile)
        if target.device is None:
            try:
                require_this_machine(profile)
            except (RequestError, EnvironmentProblem) as error:
                self._result.warnings.append(f"{error.problem} {error.advice}")
            running = race_of(target, profile, None)
            runtimes = [*running.runtimes]
            profile = with_own_precisions(profile, running, computes_in_bf16(None))
        else:
            refuse_unknown_runtimes(profile, target.runtimes or ())
            runtimes = target.runtimes or [profile.runtime]
        may_ship = ", ".join(precisions_of(target, profile, self._recipe))
        self._say(f"target {profile.name}: {' and '.join(runtimes)}, may ship {may_ship}")

    def _data(self) -> EncodedDataset | None:
        spec = self._recipe.data
        if _too_large(spec):
            self._say("data: the shards exist; they are too large to be read here")
            return None
        data = read_source(spec)
        split = "with their own splits" if data.splits else "to be split"
        if fold := spec.fold:
            split += f"; the test split is fold {fold.number} of {fold.of}"
        self._say(f"data: {len(data.keys):,} images of {len(data.class_names)} classes, {split}")
        self._result.warnings.extend(note for note in data.notes if note != LICENCE)
        if unused := described(data.unused):
            self._result.warnings.append(unused)
        return data

    def _names(self) -> bool:
        self._result.warnings.extend(names.check(self._recipe))
        return True

    def _models(self, classes: int, missing: set[str]) -> None:
        from tmkd_deploy.pipeline import model_check  # imports torch

        recipe = self._recipe
        sections: dict[str, Student | VisualTeacher]
        sections = {"student": recipe.student}
        if not recipe.model_is_given:
            sections["teacher.visual"] = recipe.teacher.visual
        for key, section in sections.items():
            build = partial(model_check.create_empty, section, classes, recipe.data.image_size)
            before = len(self._errors)
            classifier = self._attempt(f"{key}.model", build)
            if classifier is None:
                if len(self._errors) == before:
                    self._result.warnings.append(f"{key}.model: only a run can check this model.")
                continue
            if problem := model_check.normalisation(section, classifier, recipe.data):
                self._result.warnings.append(f"{key}: {problem}")
            weights = f"{key}.weights"
            if weights not in missing:
                fit = partial(model_check.fit, section, classifier, given=recipe.model_is_given)
                self._attempt(weights, fit)
            self._say(f"{key}: {model_check.described(section, classifier)}")
            if key == "student" and recipe.quantize.enabled:
                excluded = recipe.quantize.exclude_layers
                self._attempt("quantize", partial(model_check.quantize, classifier, excluded))

    def _embeddings(self, data: EncodedDataset) -> None:
        from tmkd_deploy.distill.text_embeddings import read_embeddings

        path = self._recipe.teacher.text.embeddings
        assert path is not None
        read_embeddings(path, data.class_names)
        self._say("teacher.text.embeddings: one row per class")

    def _say(self, sentence: str) -> None:
        self._result.checked.append(sentence)


def _too_large(spec: Data) -> bool:
    if spec.source != "webdataset":
        return False
    roots = [root for root in (spec.path, spec.train, spec.val, spec.test) if root]
    shards = [shard for root in roots for shard in FILES[spec.source](root, spec)]
    return sum(shard.stat().st_size for shard in shards) > _SHARDS_READ_UP_TO


def _raise_for(errors: list[TmkdError]) -> None:
    if len(errors) == 1:
        raise errors[0]
    if errors:
        lines = [f"  {each.where}: {each.problem} {each.advice}" for each in errors]
        kind = DataError if all(isinstance(each, DataError) for each in errors) else RequestError
        raise kind(
            "\n".join([f"The recipe has {len(errors)} problems.", *lines]),
            advice="Fix them, then run: tmkd-deploy recipe check",
        )
