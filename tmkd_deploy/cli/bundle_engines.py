"""`bundle install` and `bundle merge`: the engines in a bundle, and where they are built."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tmkd_deploy.cli import output
from tmkd_deploy.cli.bundle_errors import bundle_errors
from tmkd_deploy.cli.options import AsJson, Quiet
from tmkd_deploy.errors import from_os_error

if TYPE_CHECKING:
    from tmkd_deploy.bundle.install import Installed

BundleFile = Annotated[Path, typer.Argument(metavar="FILE", help="A .tmkd file.")]


def install(
    file: BundleFile,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            metavar="ADDRESS",
            help="The device to build on: ssh://[user@]host[:port][?python=PATH], or local.",
        ),
    ] = "local",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Build a bundle's TensorRT engines on the device that runs them.

    A TensorRT engine runs on one release and one kind of GPU only. This builds it from the model in
    the bundle, checks its results and keeps it for applications there, which find it by themselves.
    An engine that is installed already is not built again.
    """
    with bundle_errors():
        from tmkd_deploy.bundle import install as installing  # noqa: PLC0415
        from tmkd_deploy.cli import progress  # noqa: PLC0415

        with progress.listener(quiet) as events:
            found = installing.install(file, device, events)
    if as_json:
        engines = [dataclasses.asdict(each) for each in found]
        output.emit_json({"bundle": str(file), "device": device, "engines": engines})
        return
    output.emit("\n".join(_told(each) for each in found))
    there = "" if device == "local" else "On the device, with this file there: "
    output.emit(f"{there}tmkd-deploy bundle run {file} IMAGE")


def merge(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="The bundles, the preferred first.")
    ],
    into: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The new bundle.")],
) -> None:
    """Join bundles of one recipe into one.

    Where it is loaded, the first engine that can run there does. The bundles must have the same
    classes and the same input.
    """
    with bundle_errors():
        from tmkd_deploy.bundle import merge as merging  # noqa: PLC0415
        from tmkd_deploy.runtime.bundle_engine import title_of  # noqa: PLC0415

        try:
            manifest = merging.merge(files, into)
        except OSError as error:
            raise from_os_error(error) from error
    engines = "\n".join(f"  {title_of(engine)}" for engine in manifest.engines)
    output.emit(f"Wrote {into}. The first of these that runs is used:\n{engines}")
    output.emit(f"Next: tmkd-deploy bundle verify {into}")


def _told(found: Installed) -> str:
    if found.path is None:
        return f"{found.title}: {found.reason}"
    if found.reused:
        return f"{found.title}: installed before, in {found.path}"
    return (
        f"{found.title}: built; its results are those recorded, logits differ by at most "
        f"{found.largest_difference:.4g}. Installed in {found.path}"
    )
