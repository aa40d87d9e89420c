"""`doctor`: whether a machine can do what is asked, and the command that mends what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tmkd_deploy.cli import output
from tmkd_deploy.cli.options import DEFAULT_RUNS, AsJson, Runs
from tmkd_deploy.errors import ExitCode


def doctor(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="Look only at what it needs.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="ADDRESS",
            help="Check this device instead: local, or ssh://user@host:port.",
        ),
    ] = None,
    runs: Runs = DEFAULT_RUNS,
    as_json: AsJson = False,
) -> None:
    """Check this machine, or a device: Python, packages, disk and processor, clocks and power.

    The exit code is 4 if something needed is wrong.
    """
    import dataclasses  # noqa: PLC0415

    from tmkd_deploy.recipe.load import load  # noqa: PLC0415

    asked = None if recipe is None else load(recipe, warn=output.warn)
    record: dict[str, Any] = {}
    if device is None:
        from tmkd_deploy.cli import checkup  # noqa: PLC0415

        findings = checkup.examine(asked, runs)
    else:
        from tmkd_deploy.cli import device_checkup  # noqa: PLC0415

        record = {"device": device, "device_info": device_checkup.probe(device)}
        findings = device_checkup.examine(record["device_info"], asked)
    wrong = [finding for finding in findings if finding.state == "wrong"]
    exit_code = ExitCode.ENVIRONMENT if wrong else ExitCode.OK
    if as_json:
        output.emit_json(
            {
                "checks": [dataclasses.asdict(finding) for finding in findings],
                "exit_code": int(exit_code),
                **record,
            }
        )
    else:
        from tmkd_deploy.cli import render  # noqa: PLC0415
        from tmkd_deploy.report.tables import Table  # noqa: PLC0415

        rows = [[each.state, each.subject, each.found] for each in findings]
        output.emit(render.as_text([render.grid(Table("", ["State", "What", "Found"], rows))]))
        for each in findings:
            if each.remedy:
                output.emit(f"{each.subject}: {each.remedy}")
        output.emit("Something needed is wrong." if wrong else "All that is needed is here.")
    raise typer.Exit(int(exit_code))
