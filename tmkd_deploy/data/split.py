"""The stratified split: exact, and the same on every machine and with every library version."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction

from tmkd_deploy.data.samples import Sample

Twins = list[Sample]  # samples with identical pixels


def stratified_split(
    samples: Sequence[Sample], *, test_fraction: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """The training and the test samples, each in the order given.

    Samples with identical pixels stay together. Where there are none, every class and every
    stratum of a class gives its share to the test within one image; each class gives one at least
    if it can. What goes is chosen in the order of SHA-256 over seed and key, because random
    generators promise no stability between library versions.
    """
    by_class: dict[int, dict[str, list[Twins]]] = defaultdict(lambda: defaultdict(list))
    for twins in _twins(samples):
        by_class[twins[0].label][twins[0].stratum].append(twins)

    def order(twins: Twins) -> str:
        return hashlib.sha256(f"{seed}\n{twins[0].key}".encode()).hexdigest()

    test_rows: set[int] = set()
    for by_stratum in by_class.values():
        chosen: list[Twins] = []
        shares = _shares(by_stratum, Fraction(str(test_fraction)))
        for stratum, share in shares.items():
            chosen += _fill(sorted(by_stratum[stratum], key=order), share)
        candidates = [twins for stratum in by_stratum.values() for twins in stratum]
        if not chosen and len(candidates) > 1:  # all of them are more than the share
            chosen = [min(candidates, key=len)]
        test_rows.update(sample.row for twins in chosen for sample in twins)
    train = [sample for sample in samples if sample.row not in test_rows]
    test = [sample for sample in samples if sample.row in test_rows]
    return train, test


def _twins(samples: Sequence[Sample]) -> list[Twins]:
    by_pixels: dict[str, Twins] = defaultdict(list)
    for sample in samples:
        by_pixels[sample.pixels].append(sample)
    return list(by_pixels.values())


def _shares(by_stratum: dict[str, list[Twins]], fraction: Fraction) -> dict[str, int]:
    """Test images of each stratum of one class, by the method of the largest remainder."""
    sizes = {stratum: sum(map(len, by_stratum[stratum])) for stratum in sorted(by_stratum)}
    exact = {stratum: size * fraction for stratum, size in sizes.items()}
    shares = {stratum: math.floor(share) for stratum, share in exact.items()}
    total = sum(sizes.values())
    wanted = min(max(round(total * fraction), 1), total - 1)
    by_remainder = sorted(sizes, key=lambda stratum: shares[stratum] - exact[stratum])
    for stratum in by_remainder[: wanted - sum(shares.values())]:
        shares[stratum] += 1
    return shares


def _fill(candidates: list[Twins], share: int) -> list[Twins]:
    """The first of `candidates` that together hold at most `share` images."""
    chosen: list[Twins] = []
    for twins in candidates:
        if len(twins) <= share:
            chosen.append(twins)
            share -= len(twins)
    return chosen
