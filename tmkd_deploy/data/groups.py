"""Groups of images that must not be divided between splits, such as the frames of one track."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from tmkd_deploy.data.samples import Sample
from tmkd_deploy.errors import DataError
from tmkd_deploy.recipe import name_pattern


def groups_of(
    keys: Sequence[str], group_by: str, *, required: bool, where: str, below_class: bool
) -> list[str]:
    """The group of each image by its key; "" for an image that has none.

    `group_by` is `folder` or a file-name pattern. `below_class` says that the first folder of a key
    is the image's class.

    Raises:
        DataError: an image has no group although `required`.
    """
    if group_by == "folder":
        groups = [_folder(key, below_class) for key in keys]
    else:
        pattern = name_pattern.parse(group_by)
        groups = [pattern.group(key) or "" for key in keys]
    if required and "" in groups:
        lacking = keys[groups.index("")]
        raise DataError(
            f"The image {lacking!r} lies in no folder that could be its group."
            if group_by == "folder"
            else f"The image {lacking!r} does not match 'data.group_by', {group_by}.",
            where=where,
            advice="Give every image a group, or change 'data.group_by'.",
        )
    return groups


def straddling(splits: Sequence[Sequence[Sample]]) -> list[str]:
    """The groups with images in more than one split, sorted."""
    found: set[str] = set()
    seen: set[str] = set()
    for samples in splits:
        groups = {sample.group for sample in samples if sample.group}
        found |= groups & seen
        seen |= groups
    return sorted(found)


def united(
    samples: Sequence[Sample], similar: Iterable[tuple[str, str]] = ()
) -> list[list[Sample]]:
    """The samples that must stay together: those of one group, or with the same pixels.

    So must two samples whose `pixels` are a pair of `similar`.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for sample in samples:
        if sample.group:
            parent[root(f"pixels {sample.pixels}")] = root(f"group {sample.group}")
    for one, other in similar:
        parent[root(f"pixels {one}")] = root(f"pixels {other}")
    units: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        units[root(f"pixels {sample.pixels}")].append(sample)
    return list(units.values())


def _folder(key: str, below_class: bool) -> str:
    folders = PurePosixPath(key).parts[below_class:-1]
    return "/".join(folders)
