"""Shards that are named after their splits, as on model hubs: train-00000-of-00004.parquet."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from tmkd_deploy.data.samples import reading
from tmkd_deploy.data.split_names import SPLITS, Split, split_named
from tmkd_deploy.errors import DataError

_FIRST_WORD = re.compile(r"[^\W\d_]+")


def shard_splits(folder: Path, suffix: str) -> dict[Split, Path]:
    """A glob for the shards of each split in `folder`; empty if no two splits are named.

    Raises:
        DataError: only some shards are named after splits, or two names stand for the same split.
    """
    if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises if no file can have the name
        return {}
    with reading(folder):
        names = sorted(each.name for each in folder.iterdir() if each.suffix.lower() == suffix)
    words = {name: found[0] for name in names if (found := _FIRST_WORD.match(name))}
    of_split: dict[Split, str] = {}
    for word in sorted(set(words.values())):
        if (split := split_named(word)) is None:
            continue
        if split in of_split:
            raise _ambiguous(
                folder, f"Shards of the same split are named {of_split[split]!r} and {word!r}."
            )
        of_split[split] = word
    if len(of_split) < 2:
        return {}
    others = [name for name in names if words.get(name) not in of_split.values()]
    if others:
        named = " and ".join(f"{of_split[split]!r}" for split in SPLITS if split in of_split)
        raise _ambiguous(
            folder, f"Some shards are named {named} after their splits, but {others[0]!r} is not."
        )
    pattern = Path(glob.escape(str(folder)))
    # the next character is none of the word's: train* would match training, too
    ending = "[!a-zA-Z]*"
    return {split: pattern / f"{of_split[split]}{ending}" for split in SPLITS if split in of_split}


def _ambiguous(folder: Path, problem: str) -> DataError:
    return DataError(
        problem,
        where=str(folder),
        advice="Name the shards of each split in 'data.train', 'data.val' and 'data.test'; each "
        "may be a pattern such as 'shards/train-*.parquet'.",
    )
