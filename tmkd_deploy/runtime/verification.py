"""Verify that a bundle is intact and computes the recorded results on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tmkd_deploy.runtime.archive import read_archive
from tmkd_deploy.runtime.arguments import as_path
from tmkd_deploy.runtime.bundle_engine import open_engine
from tmkd_deploy.runtime.bundle_errors import RuntimeMissingError
from tmkd_deploy.runtime.golden import check_golden, check_preprocessing, golden_arrays
from tmkd_deploy.runtime.manifest import Manifest


@dataclass(frozen=True)
class VerifyReport:
    """The result of verifying an intact bundle.

    Attributes:
        file: the bundle's path.
        bytes: size of the file.
        sha256: of the file.
        manifest: the bundle's description of itself.
        golden_images: number of golden images.
        executed: whether the golden images were run.
        largest_difference: largest absolute difference of a golden image's logit; None if they were
            not run.
        checked: what was verified, as complete sentences.
        warnings: what a user should know, as complete sentences.
    """

    file: str
    bytes: int
    sha256: str
    manifest: Manifest
    golden_images: int
    executed: bool
    largest_difference: float | None
    checked: tuple[str, ...]
    warnings: tuple[str, ...]


def verify(path: Path | str) -> VerifyReport:
    """Verify a bundle: its archive, its manifest, all hashes and, if it runs here, its results.

    Args:
        path: the bundle's `.tmkd` file.

    Returns:
        What was verified, with warnings if the gate did not pass or the engine was not run.

    Raises:
        ArgumentError: the path is not a str or Path.
        BundleError: the bundle is missing, truncated, altered or unsafe, or computes different
            results on this machine.
    """
    contents = read_archive(as_path(path))
    images, _ = golden_arrays(contents)
    manifest = contents.manifest
    checked = [f"The SHA-256 of all {len(contents.members)} files matches the manifest."]
    difference = check_preprocessing(contents)
    if difference is not None:
        checked.append(
            "Images are resized here as in training; pixels of the built-in pictures differ by at "
            f"most {difference}."
        )
    warnings = []
    if manifest.gate == "failed":
        warnings.append("The gate failed: this engine breaks a budget of its recipe.")
    if manifest.gate == "inconclusive":
        warnings.append("The gate was inconclusive: it is unknown whether all budgets are met.")
    if manifest.gate == "not_judged":
        warnings.append(
            "This engine was not judged: its recipe sets no budgets, or nobody had run it."
        )
    largest = None
    try:
        largest = check_golden(contents, open_engine(contents))
        checked.append(
            f"The {len(images)} golden images produce the recorded classes; their logits differ by "
            f"at most {largest:.4g}, and {manifest.golden_tolerance:.4g} is allowed."
        )
    except RuntimeMissingError as error:
        warnings.append(f"The engine was not run here. {error.problem}")
    return VerifyReport(
        file=str(path),
        bytes=contents.size,
        sha256=contents.sha256,
        manifest=manifest,
        golden_images=len(images),
        executed=largest is not None,
        largest_difference=largest,
        checked=tuple(checked),
        warnings=tuple(warnings),
    )
