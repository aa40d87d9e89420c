"""`doctor`: check that a machine is ready, and suggest a command for every problem."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tmkd_deploy.cli import output
from tmkd_deploy.cli.options import DEFAULT_PROOFS, DEFAULT_RUNS, AsJson, Runs
from tmkd_deploy.errors import ExitCode, RequestError


def doctor(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="Check only what this recipe needs.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="ADDRESS",
            help="Check this device instead: local, or ssh://user@host:port.",
        ),
    ] = None,
    extra: Annotated[
        list[str] | None,
        typer.Option(
            "--extra",
            metavar="NAME",
            help="Require this extra of the package, and import it. Repeatable.",
        ),
    ] = None,
    prove: Annotated[
        bool,
        typer.Option(
            "--prove",
            help="Check on the device every claim that is untested on real hardware, in at most "
            "30 minutes, and write a proof. No setting is changed.",
        ),
    ] = False,
    into: Annotated[
        Path, typer.Option("--into", metavar="DIR", help="Folder of proofs.")
    ] = DEFAULT_PROOFS,
    runs: Runs = DEFAULT_RUNS,
    as_json: AsJson = False,
) -> None:
    """Check that this machine, or a device, is ready.

    This covers Python, packages, disk, memory and processor, and on a device clocks and power.
    The exit code is 4 if a required check fails; with --prove, it is 1 if a claim is contradicted.
    """
    if prove:
        from tmkd_deploy.cli import prove as proving  # noqa: PLC0415

        if recipe is not None or extra:
            raise RequestError(
                "A proof is made with a classifier of its own: it takes no recipe and no extra.",
                advice="Leave them out.",
            )
        proving.prove(device, into, as_json)
    import dataclasses  # noqa: PLC0415

    from tmkd_deploy.recipe.load import load  # noqa: PLC0415

    checked_recipe = None if recipe is None else load(recipe, warn=output.warn)
    record: dict[str, Any] = {}
    if device is None:
        from tmkd_deploy.cli import checkup  # noqa: PLC0415

        findings = checkup.examine(checked_recipe, runs, extra or [])
    elif extra:
        raise RequestError(
            "--extra checks this machine, and --device another.", advice="Give one of them."
        )
    else:
        from tmkd_deploy.cli import device_checkup  # noqa: PLC0415

        record = {"device": device, "device_info": device_checkup.probe(device)}
        findings = device_checkup.examine(record["device_info"], checked_recipe)
    wrong = [finding for finding in findings if finding.state == "error"]
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
        table = Table("", ["State", "What", "Found"], rows)
        output.emit_styled(render.as_text([render.grid(table)]))
        for each in findings:
            if each.remedy:
                output.emit(f"{each.subject}: {each.remedy}")
        output.emit("A required check failed." if wrong else "All required checks passed.")
    raise typer.Exit(int(exit_code))
