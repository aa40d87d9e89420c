"""Whether a bundle is whole, and whether it computes here what it computed where it was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tmkd_deploy.runtime.archive import read_archive
from tmkd_deploy.runtime.bundle_engine import open_engine
from tmkd_deploy.runtime.bundle_errors import RuntimeMissingError
from tmkd_deploy.runtime.golden import check_golden, golden_arrays
from tmkd_deploy.runtime.manifest import Manifest


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` found; a bundle that is not whole raises instead.

    `sha256` is that of the bundle file itself. `executed` says whether the golden images were run;
    `largest_difference` is then the largest difference of a logit. `checked` and `warnings` are
    complete sentences for whoever reads the result.
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
    """Check a bundle: the archive, its manifest, every hash and, where it can run, its results.

    Raises:
        BundleError: it is missing, truncated, altered, unsafe, or computes something else here.
    """
    contents = read_archive(Path(path))
    images, _ = golden_arrays(contents)
    manifest = contents.manifest
    checked = [f"The SHA-256 of all {len(contents.members)} files agrees with the manifest."]
    warnings = []
    if manifest.gate == "failed":
        warnings.append("The gate failed: this engine breaks a budget of its recipe.")
    if manifest.gate == "inconclusive":
        warnings.append("The gate was inconclusive: not every budget is known to be kept.")
    largest = None
    try:
        largest = check_golden(contents, open_engine(contents))
        checked.append(
            f"The {len(images)} golden images give the recorded classes; the largest difference "
            f"of a logit is {largest:.4g}, and {manifest.golden_tolerance:.4g} is allowed."
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
