"""`explain`: why an engine is slow, and where it loses accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tmkd_deploy.cli import output
from tmkd_deploy.cli.options import DEFAULT_RUNS, AsJson, Runs
from tmkd_deploy.errors import RequestError

if TYPE_CHECKING:
    from tmkd_deploy.explain.interface import Explanation
    from tmkd_deploy.records.types import Precision

RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="A run folder, or a recipe: its file or name.")
]
TargetName = Annotated[
    str | None,
    typer.Option("--target", metavar="NAME", help="Only this target.  [default: all]"),
]
PrecisionName = Annotated[
    str, typer.Option("--precision", metavar="NAME", help="The engines: int8, bf16, fp16 or fp32.")
]


def explain(
    run: RunName,
    target: TargetName = None,
    precision: PrecisionName = "int8",
    runs: Runs = DEFAULT_RUNS,
    as_json: AsJson = False,
) -> None:
    """Explain why an engine is slow or inaccurate.

    The causes are given per layer.
    """
    import dataclasses  # noqa: PLC0415

    folder = _run_folder(run, runs)
    explanations = _explanations(folder, target, precision)
    if as_json:
        plain = [dataclasses.asdict(each) for each in explanations]
        output.emit_json({"run": str(folder), "explanations": plain})
        return
    from tmkd_deploy.cli import render_explanation  # noqa: PLC0415

    output.emit_styled(render_explanation.as_text(explanations))


def _explanations(folder: Path, target: str | None, precision: str) -> list[Explanation]:
    try:
        from tmkd_deploy.explain import explain as explaining  # noqa: PLC0415
    except ImportError as error:
        from tmkd_deploy.errors import MissingExtra  # noqa: PLC0415

        raise MissingExtra("Explaining an engine", "train", error.name or "onnx") from error
    known = _known_precision(precision)
    built = explaining.built_engines(folder)
    if not built:
        raise RequestError(
            "This run has no engine yet.",
            where=str(folder),
            advice="Build one first with: tmkd-deploy export",
        )
    if target is not None:
        chosen = [_known_target(target, list(built))]
    else:
        # a target without such an engine is explained only if all lack it
        chosen = [
            each for each in built if any(engine.precision == known for engine in built[each])
        ] or list(built)[:1]
    from tmkd_deploy.cli import recipe_of_run  # noqa: PLC0415

    arguments = recipe_of_run.arguments(folder)
    names = {
        each: [engine.name for engine in built[each] if engine.precision == known] or [known]
        for each in chosen
    }
    return [
        explaining.explain(folder, each, name, arguments) for each in chosen for name in names[each]
    ]


def _run_folder(run: str, runs: Path) -> Path:
    from tmkd_deploy.suggestions import did_you_mean  # noqa: PLC0415

    name = _name_in(Path(run)) or run
    for folder in (Path(run), runs / name):
        if folder.is_dir():
            return folder
    known = [path.name for path in runs.iterdir() if path.is_dir()] if runs.is_dir() else []
    suggestion = f"{did_you_mean(name, known)} " if known else ""
    raise RequestError(
        f"There is no run {name!r}, neither as a folder nor in {runs}.",
        advice=f"{suggestion}Create one with: tmkd-deploy run",
    )


def _name_in(recipe: Path) -> str | None:
    """The name of the run of a recipe; None where the path leads to no file."""
    from tmkd_deploy.recipe.load import load  # noqa: PLC0415

    return load(recipe).name if recipe.is_file() else None


def _known_target(name: str, built: list[str]) -> str:
    from tmkd_deploy.suggestions import did_you_mean  # noqa: PLC0415
    from tmkd_deploy.targets import catalog  # noqa: PLC0415

    canonical = catalog.canonical(name)
    if canonical not in built:
        raise RequestError(
            f"This run has no engine for the target {name!r}.", advice=did_you_mean(name, built)
        )
    return canonical


def _known_precision(name: str) -> Precision:
    from tmkd_deploy.records.types import PRECISIONS, as_precision  # noqa: PLC0415
    from tmkd_deploy.suggestions import did_you_mean  # noqa: PLC0415

    if name not in PRECISIONS:
        advice = did_you_mean(name, PRECISIONS)
        raise RequestError(f"There is no precision {name!r}.", advice=advice)
    return as_precision(name)
