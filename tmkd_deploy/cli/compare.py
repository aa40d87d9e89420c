"""`compare`: the differences between two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tmkd_deploy.cli import output
from tmkd_deploy.cli.options import AsJson
from tmkd_deploy.errors import DataError, RequestError

SUMMARY = "summary.json"
BYTES_AT_MOST = 32 << 20

RunA = Annotated[Path, typer.Argument(metavar="RUN_A", help="A run folder or its summary.json.")]
RunB = Annotated[Path, typer.Argument(metavar="RUN_B", help="The run to compare it with.")]


def compare(run_a: RunA, run_b: RunB, as_json: AsJson = False) -> None:
    """Compare the results of two runs."""
    import dataclasses  # noqa: PLC0415

    from tmkd_deploy.report import compare as comparison  # noqa: PLC0415

    result = comparison.compare(_summary(run_a), _summary(run_b))
    if as_json:
        output.emit_json(dataclasses.asdict(result))
    else:
        output.emit(comparison.render_markdown(result).rstrip())


def _summary(run: Path) -> dict[str, Any]:
    from tmkd_deploy.bounded_json import parse_json  # noqa: PLC0415
    from tmkd_deploy.runtime.regular_file import UnsuitableFileError, open_regular  # noqa: PLC0415

    path = run / SUMMARY if run.is_dir() else run
    try:
        with open_regular(path, BYTES_AT_MOST) as stream:
            content = parse_json(stream.read(BYTES_AT_MOST))
    except FileNotFoundError as error:
        raise RequestError(
            "There is no run summary here.",
            where=str(path),
            advice="Give the folder of a finished run; tmkd-deploy report writes its summary.json.",
        ) from error
    except (ValueError, UnsuitableFileError) as error:
        raise DataError(
            "This summary is not JSON.",
            where=str(path),
            advice="Write it again with: tmkd-deploy report",
        ) from error
    return content if isinstance(content, dict) else {}
