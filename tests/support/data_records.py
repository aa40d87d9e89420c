"""The record of prepared data for tests that need no more of it than classes and an image size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tmkd_deploy.data.prepared import DataRecord
from tmkd_deploy.records.data_check import DataCheckRecord, ImageKinds


def data_record(class_names: Sequence[str], image_size: int, **fields: Any) -> DataRecord:
    """A record of nothing remarkable, except for the `fields` given."""
    side = (image_size, image_size)
    kinds = ImageKinds(formats={}, modes={}, smallest=side, median=side, largest=side, not_square=0)
    check = DataCheckRecord(
        source="folder",
        class_names=list(class_names),
        counts={},
        kinds=kinds,
        findings=[],
        similar=[],
        similar_pairs=0,
    )
    nothing: dict[str, Any] = {
        "source": "folder",
        "notes": [],
        "drawn_splits": ["val", "test"],
        "split_seed": 0,
        "group_by": None,
        "straddling_groups": [],
        **{f"{split}_images": 0 for split in ("train", "val", "test")},
        **{f"{split}_counts": {} for split in ("train", "val", "test")},
        "unused": [],
        "skipped": [],
        "overlapping": [],
        "duplicates_within_train": 0,
        "train_sha256": "",
        "val_sha256": "",
        "evaluation_sha256": "",
        "check": check,
    }
    return DataRecord(class_names=list(class_names), image_size=image_size, **{**nothing, **fields})
