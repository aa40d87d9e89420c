"""Verify that a bundle is intact and computes the recorded results on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tmkd_deploy.runtime.archive import Contents, read_archive
from tmkd_deploy.runtime.arguments import as_path
from tmkd_deploy.runtime.bundle_engine import Source, open_engine, title_of
from tmkd_deploy.runtime.bundle_errors import RuntimeMissingError
from tmkd_deploy.runtime.golden import check_golden, check_preprocessing, golden_arrays
from tmkd_deploy.runtime.manifest import Manifest
from tmkd_deploy.runtime.manifest_engine import BundledEngine

_GATE_WARNINGS = {
    "failed": "The gate failed: this engine breaks a budget of its recipe.",
    "inconclusive": "The gate was inconclusive: it is unknown whether all budgets are met.",
    "not_judged": "This engine was not judged: its recipe sets no budgets, or nobody had run it.",
}


@dataclass(frozen=True)
class EngineReport:
    """The result of verifying one engine.

    Attributes:
        title: precision, runtime and target in a few words.
        golden_images: number of its golden images.
        executed: whether they were run.
        source: where the engine that ran is from, `bundle` or `installed`; None if none ran.
        largest_difference: largest absolute difference of a golden image's logit; None likewise.
        problem: why it was not run, as complete sentences; None if it was.
    """

    title: str
    golden_images: int
    executed: bool
    source: Source | None
    largest_difference: float | None
    problem: str | None


@dataclass(frozen=True)
class VerifyReport:
    """The result of verifying an intact bundle.

    Attributes:
        file: the bundle's path.
        bytes: size of the file.
        sha256: of the file.
        manifest: the bundle's description of itself.
        engines: one report for each of the manifest's engines, in the same order.
        executed: whether the golden images of an engine were run.
        checked: what was verified, as complete sentences.
        warnings: what a user should know, as complete sentences.
    """

    file: str
    bytes: int
    sha256: str
    manifest: Manifest
    engines: tuple[EngineReport, ...]
    executed: bool
    checked: tuple[str, ...]
    warnings: tuple[str, ...]


def verify(path: Path | str) -> VerifyReport:
    """Verify a bundle: its archive, its manifest, all hashes and the results of what runs here.

    Args:
        path: the bundle's `.tmkd` file.

    Returns:
        What was verified, with warnings if a gate did not pass or an engine was not run.

    Raises:
        ArgumentError: the path is not a str or Path.
        BundleError: the bundle is missing, truncated, altered or unsafe, or computes different
            results on this machine.
    """
    contents = read_archive(as_path(path))
    manifest = contents.manifest
    for description in manifest.engines:
        golden_arrays(contents, description)
    checked = [f"The SHA-256 of all {len(contents.members)} files matches the manifest."]
    difference = check_preprocessing(contents)
    if difference is not None:
        checked.append(
            "Images are resized here as in training; pixels of the built-in pictures differ by at "
            f"most {difference}."
        )
    reports, warnings = [], []
    for description in manifest.engines:
        named = f"{title_of(description)}: " if len(manifest.engines) > 1 else ""
        report, notes = _verify_engine(contents, description)
        warnings += [f"{named}{note}" for note in notes]
        reports.append(report)
        if report.executed:
            checked.append(f"{named}{_results(report, description)}")
    return VerifyReport(
        file=str(path),
        bytes=contents.size,
        sha256=contents.sha256,
        manifest=manifest,
        engines=tuple(reports),
        executed=any(report.executed for report in reports),
        checked=tuple(checked),
        warnings=tuple(warnings),
    )


def _verify_engine(
    contents: Contents, description: BundledEngine
) -> tuple[EngineReport, list[str]]:
    """The report on an engine, and warnings."""
    warnings = [_GATE_WARNINGS[description.gate]] if description.gate in _GATE_WARNINGS else []
    title, count = title_of(description), len(golden_arrays(contents, description)[0])
    try:
        engine = open_engine(contents, description)
    except RuntimeMissingError as error:
        warnings.append(f"The engine was not run here. {error.problem} {error.advice}")
        return EngineReport(title, count, False, None, None, error.problem), warnings
    largest = check_golden(contents, engine)
    if engine.note:
        warnings.append(engine.note)
    return EngineReport(title, count, True, engine.source, largest, None), warnings


def _results(report: EngineReport, description: BundledEngine) -> str:
    engine = "the engine installed here" if report.source == "installed" else "the engine"
    return (
        f"With {engine}, the {report.golden_images} golden images produce the recorded classes; "
        f"their logits differ by at most {report.largest_difference:.4g}, and "
        f"{description.golden_tolerance:.4g} is allowed."
    )
