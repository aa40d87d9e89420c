"""`bundle`: pack engines into bundles, and verify, show and run bundles."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from tmkd_deploy.cli import output, stages
from tmkd_deploy.cli.groups import PackByDefault
from tmkd_deploy.cli.options import AsJson
from tmkd_deploy.errors import DataError, EnvironmentProblem

app = typer.Typer(
    cls=PackByDefault,
    help="Pack engines into bundles; verify, show and run bundles.",
    rich_markup_mode=None,
)
app.command("pack", help=f"{stages.BUNDLE.help} `bundle` without a command does this.")(
    stages.command(stages.BUNDLE)
)

BundleFile = Annotated[Path, typer.Argument(metavar="FILE", help="A .tmkd file.")]


@app.command()
def verify(file: BundleFile, as_json: AsJson = False) -> None:
    """Check the integrity of a bundle.

    Every hash is checked and, if the engine can run here, its results too.
    """
    import dataclasses  # noqa: PLC0415

    with _bundle_errors():
        from tmkd_deploy import runtime  # noqa: PLC0415

        report = runtime.verify(file)
    if as_json:
        output.emit_json(dataclasses.asdict(report))
        return
    output.emit("\n".join([*report.checked, *(f"Warning: {each}" for each in report.warnings)]))
    output.emit(f"{file} is valid. SHA-256 {report.sha256}")


@app.command()
def show(file: BundleFile, as_json: AsJson = False) -> None:
    """Print the manifest of a bundle."""
    import dataclasses  # noqa: PLC0415

    with _bundle_errors():
        from tmkd_deploy.runtime.archive import read_archive  # noqa: PLC0415

        manifest = dataclasses.asdict(read_archive(file).manifest)
    if as_json:
        output.emit_json(manifest)
        return
    import yaml  # noqa: PLC0415

    plain: dict[str, Any] = {
        key: list(value) if isinstance(value, tuple) else value for key, value in manifest.items()
    }
    output.emit(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).rstrip())


@app.command()
def run(
    file: BundleFile,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Images to classify.")],
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Threads.  [default: as measured]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Classify images with a bundle, as an application would."""
    with _bundle_errors():
        from tmkd_deploy import runtime  # noqa: PLC0415

        classifier = runtime.load(file, threads=threads)
        predictions = [(image, _predict(classifier, image)) for image in images]
    if as_json:
        output.emit_json(
            {
                "bundle": str(file),
                "predictions": [
                    {
                        "image": str(image),
                        "label": prediction.label,
                        "index": prediction.index,
                        "confidence": prediction.confidence,
                        "probabilities": prediction.probabilities,
                    }
                    for image, prediction in predictions
                ],
            }
        )
        return
    for image, prediction in predictions:
        output.emit(f"{image}: {prediction.label} ({100 * prediction.confidence:.1f} %)")


def _predict(classifier: Any, image: Path) -> Any:
    from tmkd_deploy.runtime.image import UnreadableImage  # noqa: PLC0415

    try:
        return classifier.predict(image)
    except UnreadableImage as error:
        raise DataError(str(error), advice="Give a readable PNG or JPEG image.") from error


@contextlib.contextmanager
def _bundle_errors() -> Iterator[None]:
    from tmkd_deploy.runtime.bundle_errors import BundleError, RuntimeMissingError  # noqa: PLC0415

    try:
        yield
    except RuntimeMissingError as error:
        raise EnvironmentProblem(error.problem, where=error.where, advice=error.advice) from error
    except BundleError as error:
        raise DataError(error.problem, where=error.where, advice=error.advice) from error
