"""What the check of the data found that a verdict must not hide."""

from __future__ import annotations

from tmkd_deploy.data.findings import CONTRADICTION, LEAK
from tmkd_deploy.recipe.schema import Data
from tmkd_deploy.records.data_check import DataCheckRecord

_MAKES_UNFIT = {LEAK, CONTRADICTION}
# The recipe allows skipped images, no figure depends on unused files, and intervals show what few
# test images leave open.
_NOT_OF_THE_VERDICT = {"unreadable_images", "unused_files", "too_few_test_images"}


def concerns(check: DataCheckRecord, spec: Data) -> tuple[str | None, list[str]]:
    """Why results on the test split say little of new images, and what else to know of them.

    The first is None if they say enough. `data.near_duplicates: ignore` takes responsibility for a
    leak, which is then one of the others.
    """
    unfit, others = [], []
    for finding in check.findings:
        accepted = finding.kind == LEAK and spec.near_duplicates == "ignore"
        if finding.severity == "error" and finding.kind in _MAKES_UNFIT and not accepted:
            unfit.append(finding.problem)
        elif finding.severity != "note" and finding.kind not in _NOT_OF_THE_VERDICT:
            others.append(finding.problem)
    return " ".join(unfit) or None, others
