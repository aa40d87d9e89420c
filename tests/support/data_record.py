"""What the prepare stage records of data that were never prepared."""

from __future__ import annotations

from typing import Any

from tmkd_deploy.data.prepared import DataRecord
from tmkd_deploy.records.data_check import DataCheckRecord, ImageKinds


def data_record(**fields: Any) -> DataRecord:
    """A record without notes, skipped files or findings, except for `fields`."""
    kinds = ImageKinds(
        formats={}, modes={}, smallest=(8, 8), median=(8, 8), largest=(8, 8), not_square=0
    )
    names = fields["class_names"]
    check = DataCheckRecord(
        source="digits",
        class_names=names,
        counts={},
        kinds=kinds,
        findings=[],
        similar=[],
        similar_pairs=0,
    )
    nothing: dict[str, Any] = {
        "source": "digits",
        "notes": [],
        "drawn_splits": [],
        "split_seed": 0,
        "group_by": None,
        "straddling_groups": [],
        "train_images": 0,
        "val_images": 0,
        "test_images": 0,
        "train_counts": {},
        "val_counts": {},
        "test_counts": {},
        "unused": [],
        "skipped": [],
        "overlapping": [],
        "duplicates_within_train": 0,
        "train_sha256": "",
        "val_sha256": "",
        "evaluation_sha256": "",
        "check": check,
    }
    return DataRecord(**{**nothing, **fields})
