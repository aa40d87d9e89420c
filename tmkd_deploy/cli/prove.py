"""`doctor --prove`: what a device shows of the claims that are untested on real hardware."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import NoReturn

import typer

from tmkd_deploy.cli import output, progress
from tmkd_deploy.errors import ExitCode, RequestError


def prove(device: str | None, into: Path, as_json: bool) -> NoReturn:
    """Prove what `device` shows, print it, and exit.

    Raises:
        RequestError: there is no device.
        TmkdError: as `prove.run.prove`.
        typer.Exit: with 1 if a claim is contradicted, otherwise with 0.
    """
    from tmkd_deploy.devices.address import parse  # noqa: PLC0415
    from tmkd_deploy.prove.run import prove as run  # noqa: PLC0415

    if device is None:
        raise RequestError(
            "There is no device to prove anything on.",
            where="--prove",
            advice="Name one with --device, such as ssh://orin, or local for this machine.",
        )
    command = shlex.join(["tmkd-deploy", *sys.argv[1:]])
    with progress.listener(quiet=False) as events:
        proof, path = run(parse(device), into, events, command)
    if as_json:
        output.emit_json(proof.model_dump(mode="json"))
    else:
        from tmkd_deploy.cli import render  # noqa: PLC0415
        from tmkd_deploy.report.tables import Table  # noqa: PLC0415

        rows = [[each.outcome, each.id, each.reason or each.claim] for each in proof.claims]
        table = Table("", ["Outcome", "Claim", "What it says, or why not"], rows)
        output.emit_styled(render.as_text([render.grid(table)]))
        if proof.after is not None and proof.after != proof.before:
            output.emit("The device is not in the state that it was in before.")
        for line in proof.with_root:
            output.emit(f"Root would add: {line}.")
        output.emit(f"Proof: {path} and {path.with_suffix('.md').name}")
    raise typer.Exit(int(ExitCode.GATE_FAILED if proof.contradicted else ExitCode.OK))
