"""The three splits, and the names that data sets give them."""

from __future__ import annotations

from typing import Literal

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
LONG_NAME: dict[Split, str] = {"train": "training", "val": "validation", "test": "test"}

_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
WRITTEN = ", ".join(_NAMES)


def split_named(name: str) -> Split | None:
    """The split that `name` stands for, in any case; None if it is not the name of one."""
    return _NAMES.get(name.lower())
