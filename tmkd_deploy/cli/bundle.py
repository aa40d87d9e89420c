"""`bundle`: pack engines into bundles, and verify, show, run and evaluate bundles."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tmkd_deploy.cli import bundle_engines, output, stages
from tmkd_deploy.cli.bundle_errors import bundle_errors
from tmkd_deploy.cli.groups import PackByDefault
from tmkd_deploy.cli.options import AsJson, Quiet
from tmkd_deploy.errors import (
    DataError,
    ExitCode,
    from_os_error,
)

if TYPE_CHECKING:
    from tmkd_deploy.runtime import Classifier, Prediction

app = typer.Typer(
    cls=PackByDefault,
    help="Pack engines into bundles; verify, show, run and evaluate bundles.",
    rich_markup_mode=None,
)
app.command()(bundle_engines.install)
app.command()(bundle_engines.merge)
app.command("pack", help=f"{stages.BUNDLE.help} `bundle` without a command does this.")(
    stages.command(stages.BUNDLE)
)

BundleFile = Annotated[Path, typer.Argument(metavar="FILE", help="A .tmkd file.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads.  [default: as measured]")
]


@app.command()
def verify(file: BundleFile, as_json: AsJson = False) -> None:
    """Check the integrity of a bundle.

    Every hash is checked and, if the engine can run here, its results too. That happens in another
    process, within 10 minutes and 8 GiB of memory.
    """
    from tmkd_deploy.bundle.verify_process import verify_apart  # noqa: PLC0415

    report = verify_apart(file)
    if as_json:
        output.emit_json(report)
        return
    warnings = [f"Warning: {each}" for each in report["warnings"]]
    output.emit("\n".join([*report["checked"], *warnings]))
    output.emit(f"{_plain(file)} is valid. SHA-256 {report['sha256']}")


@app.command()
def show(file: BundleFile, as_json: AsJson = False) -> None:
    """Say what a bundle is: its classes, verdict, figures and files.

    With --json, print its whole manifest.
    """
    with bundle_errors():
        from tmkd_deploy.runtime.archive import read_archive  # noqa: PLC0415

        contents = read_archive(file)
    if as_json:
        output.emit_json(dataclasses.asdict(contents.manifest))
        return
    from tmkd_deploy.cli import render_bundle  # noqa: PLC0415

    output.emit_styled(render_bundle.summary(contents))


@app.command()
def run(
    file: BundleFile,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Images, or folders of images.")
    ],
    threads: Threads = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line and image.")
    ] = False,
) -> None:
    """Classify images with a bundle, as an application would.

    An image that cannot be used is named, and the others are classified; the exit code is then 5.
    """
    files = [found for path in images for found in _images_of(path)]
    unusable = 0
    with bundle_errors():
        from tmkd_deploy import runtime  # noqa: PLC0415

        classifier = runtime.load(file, threads=threads)
        if not as_json:
            output.error(_which(classifier))
        for image in files:
            try:
                prediction = classifier.predict(image)
            except runtime.UnreadableImage as error:
                unusable += 1
                _print_unusable(image, str(error), as_json)
            else:
                _print_prediction(image, prediction, classifier if as_json else None)
    if unusable and as_json:
        raise typer.Exit(int(ExitCode.DATA))
    if unusable:
        raise DataError(
            f"{unusable} of {len(files)} images cannot be used.",
            advice="Give PNG, JPEG, BMP, GIF, PPM, WebP or TIFF images that can be read.",
        )


@app.command()
def evaluate(
    file: BundleFile,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="A folder with one folder per class, a table, Parquet files or tar shards.",
        ),
    ],
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write one line per image to this file."),
    ] = None,
    threads: Threads = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Count how often a bundle is right on labelled images.

    Accuracy, recall and precision have 95 % intervals. An image that cannot be used is named and
    not counted; the exit code is 5 if none can.
    """
    with bundle_errors():
        from tmkd_deploy import runtime  # noqa: PLC0415
        from tmkd_deploy.bundle import evaluate as evaluation  # noqa: PLC0415
        from tmkd_deploy.cli import progress  # noqa: PLC0415

        classifier = runtime.load(file, threads=threads)
        with progress.listener(quiet) as events:
            found = evaluation.evaluate(classifier, data, events)
    if csv is not None:
        _write(csv, evaluation.to_csv(found))
    if as_json:
        about = {"bundle": str(file), **_about(classifier)}
        decision = {
            name: getattr(classifier.engine, name) for name in ("guarded_class", "threshold")
        }
        output.emit_json({**about, **decision, **evaluation.to_json(found)})
        return
    from tmkd_deploy.cli import render_bundle  # noqa: PLC0415

    output.emit_styled(render_bundle.evaluation(found, classifier))


def _write(path: Path, text: str) -> None:
    from tmkd_deploy.artifacts import write_text  # noqa: PLC0415

    try:
        write_text(path, text)
    except OSError as error:
        raise from_os_error(error) from error


def _images_of(path: Path) -> list[Path]:
    """The image files in a folder and the folders in it, sorted; or the file itself."""
    if not path.is_dir():
        return [path]
    from tmkd_deploy.data.folder import SUFFIXES  # noqa: PLC0415

    found = sorted(
        Path(parent, name)
        for parent, _, names in os.walk(path)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
    )
    if not found:
        raise DataError(
            "This folder contains no images.",
            where=_plain(path),
            advice=f"Give a folder of images ({', '.join(sorted(SUFFIXES))}).",
        )
    return found


def _about(classifier: Classifier) -> dict[str, str]:
    engine = classifier.engine
    return {
        "target": engine.target,
        "runtime": engine.runtime,
        "precision": engine.precision,
        "engine_source": classifier.engine_source,
    }


def _which(classifier: Classifier) -> str:
    """The engine that runs, and what to know of it."""
    from tmkd_deploy.runtime.bundle_engine import title_of  # noqa: PLC0415

    built = ", built on this machine" if classifier.engine_source == "installed" else ""
    return " ".join(
        filter(None, (f"Engine: {title_of(classifier.engine)}{built}.", classifier.note))
    )


def _print_prediction(image: Path, prediction: Prediction, told: Classifier | None) -> None:
    """One line; with `told`, the classifier, it is JSON."""
    if told is None:
        label, percent = prediction.label, 100 * prediction.confidence
        output.emit(f"{_plain(image)}: {label} ({percent:.1f} %)")
        return
    line = {
        "image": str(image),
        "label": prediction.label,
        "index": prediction.index,
        "confidence": prediction.confidence,
        "probabilities": prediction.probabilities,
        **_about(told),
    }
    output.emit(json.dumps(line))


def _print_unusable(image: Path, problem: str, as_json: bool) -> None:
    if as_json:
        output.emit(json.dumps({"image": str(image), "error": problem}))
    else:
        output.error(problem)


def _plain(path: Path) -> str:
    """The path, without what a terminal would obey."""
    text = str(path)
    return text if text.isprintable() else ascii(text)
