"""Checks beyond the schema: whether the models and files that a recipe names exist."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path

import yaml

from tmkd_deploy.errors import RequestError
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.suggestions import did_you_mean
from tmkd_deploy.targets import catalog as profiles

EMBEDDED_CLIP = "tmkd-clip-tiny"
# measured for docs/explanation/students.md
_FAMILIES = Path(__file__).parent / "families.yaml"


def check(recipe: Recipe) -> list[str]:
    """Look up every model that `recipe` names; return warnings.

    Importing timm and open_clip takes seconds, so only `recipe check` and stages that need them
    anyway call this.

    Raises:
        RequestError: a model or a pretrained tag is unknown; the closest names are suggested.
    """
    return [
        *_check_models(recipe),
        *_check_open_clip(recipe),
        *_slow_in_int8(recipe),
    ]


def _check_models(recipe: Recipe) -> list[str]:
    if importlib.util.find_spec("timm") is None:
        return [_unchecked("timm", "teacher.visual.model and student.model")]
    from tmkd_deploy.models.origins import origin_of  # noqa: PLC0415 - imports torch

    origin_of(recipe.teacher.visual.model, "teacher.visual.model")
    origin = origin_of(recipe.student.model, "student.model")
    if recipe.student.is_onnx_file and recipe.student.weights not in ("none", "auto"):
        raise RequestError(
            "An ONNX file has its own weights.",
            where="student.weights",
            advice="Remove `student.weights`.",
        )
    if recipe.model_is_given and recipe.student.weights == "none" and not origin.brings_weights:
        raise RequestError(
            "With `distill.epochs: 0` the student is taken with its own weights, and it has none.",
            where="student.weights",
            advice="Name the file of its weights, or set `distill.epochs` to train it.",
        )
    return []


def _check_open_clip(recipe: Recipe) -> list[str]:
    text = recipe.teacher.text
    if text.model is None or text.model == EMBEDDED_CLIP:
        return []
    if ":" in text.model:  # hf-hub:... names are not in a list
        return []
    if importlib.util.find_spec("open_clip") is None:
        return [_unchecked("open_clip_torch", "teacher.text.model")]
    import open_clip  # noqa: PLC0415

    known = [*open_clip.list_models(), EMBEDDED_CLIP]
    _must_be_known(text.model, known, "open_clip model", "teacher.text.model")
    if text.pretrained is not None:
        tags = open_clip.list_pretrained_tags_by_model(text.model)
        _must_be_known(text.pretrained, tags, "pretrained tag", "teacher.text.pretrained")
    return []


def _must_be_known(name: str, known: Iterable[str], kind: str, where: str) -> None:
    if name not in (candidates := list(known)):
        raise RequestError(
            f"There is no {kind} {name!r}.", where=where, advice=did_you_mean(name, candidates)
        )


def _unchecked(package: str, keys: str) -> str:
    return (
        f"{keys} could not be checked because {package} is not installed. "
        "Install it with: pip install 'tmkd-deploy[train]'"
    )


def missing_files(recipe: Recipe) -> dict[str, Path]:
    """The files and folders that `recipe` names and that do not exist, by their keys."""
    files = {
        "data.path": recipe.data.path,
        "data.train": recipe.data.train,
        "data.val": recipe.data.val,
        "data.test": recipe.data.test,
        "teacher.text.checkpoint": recipe.teacher.text.checkpoint,
        "teacher.text.embeddings": recipe.teacher.text.embeddings,
        "teacher.visual.weights": _file(recipe.teacher.visual.weights),
        "student.weights": _file(recipe.student.weights),
        "student.model": Path(recipe.student.model) if recipe.student.is_onnx_file else None,
    }
    return {key: path for key, path in files.items() if path is not None and not _exists(path)}


def _file(weights: str) -> Path | None:
    return Path(weights) if Path(weights).is_absolute() else None


def _exists(path: Path) -> bool:
    # `data.path` may be a glob or a range of shards.
    pattern = re.sub(r"\{\d+\.\.\d+\}", "*", str(path.relative_to(path.anchor)))
    try:
        return path.exists() or any(Path(path.anchor).glob(pattern))
    except (ValueError, OSError):  # no pattern, or a name that is too long
        return False


def _slow_in_int8(recipe: Recipe) -> list[str]:
    """A warning for each target on which INT8 is known to slow down the student's family."""
    if not recipe.quantize.enabled:
        return []
    families = yaml.safe_load(_FAMILIES.read_text(encoding="utf-8"))
    sentences = []
    for target in recipe.targets:
        runtimes = target.runtimes or [profiles.get(target.target).runtime]
        for family in families:
            belongs = recipe.student.model.startswith(family["prefix"])
            wanted = target.precisions is None or "int8" in target.precisions
            if belongs and wanted and runtimes == [family["runtime"]]:
                times = " and ".join(
                    f"{ratio:.2f} times as long at {size} px"
                    for size, ratio in family["times_as_long"].items()
                )
                sentences.append(
                    f"student.model is of a family whose INT8 engine is slower than its FP32 "
                    f"engine on {target.target}: {family['measured']} took {times} "
                    "(docs/explanation/students.md). The closest family that gains is "
                    f"{family['instead']}."
                )
    return sentences
