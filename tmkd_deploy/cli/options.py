"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_RECIPE = Path("recipe.yaml")
DEFAULT_RUNS = Path("runs")

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key, such as distill.epochs=3; may be repeated.",
    ),
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Where run folders are kept.")]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="NAME",
        help="Only this target, in the recipe or not; may be repeated.  [default: the recipe's]",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="ADDRESS",
        help="Where the target is attached: ssh://[user@]host[:port], or local.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Do this command's own work anew.")]
Only = Annotated[
    bool,
    typer.Option("--only", help="Work on what the run folder holds, stale or not; run no stage."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
