"""Which near-duplicates are copies, and which only show a scene that never changes.

A fixed camera makes all images of a class nearly the same. Keeping those together would leave
nothing to divide, so near-duplicates of such a class count as different images.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tmkd_deploy.data.near_duplicates import NearDuplicates
from tmkd_deploy.data.samples import Sample


@dataclass(frozen=True)
class Copies:
    """The near-duplicates that must stay together, and the classes whose images all look alike."""

    pairs: list[NearDuplicates]
    alike: list[int]


def tell_apart(similar: Sequence[NearDuplicates], samples: Sequence[Sample]) -> Copies:
    """The copies among `similar`, whose positions are those in `samples`.

    A class looks alike if one cluster of near-duplicates has more than half of its images, or if
    they form fewer than three clusters, so that no three splits could have one each.
    """
    cluster = _clusters(similar, len(samples))
    by_class: dict[int, Counter[int]] = defaultdict(Counter)
    for place, sample in enumerate(samples):
        by_class[sample.label][cluster[place]] += 1
    alike = {
        label
        for label, sizes in by_class.items()
        if max(sizes.values()) > 1
        and (len(sizes) < 3 or 2 * max(sizes.values()) > sum(sizes.values()))
    }
    pairs = [
        pair
        for pair in similar
        if not alike & {samples[pair.first].label, samples[pair.second].label}
    ]
    return Copies(pairs, sorted(alike))


def _clusters(similar: Sequence[NearDuplicates], count: int) -> list[int]:
    """For each of `count` images, the first image that it is linked to by near-duplicates."""
    parent = list(range(count))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for pair in similar:
        one, other = sorted((root(pair.first), root(pair.second)))
        parent[other] = one
    return [root(place) for place in range(count)]
