"""The stratified split: exact, and independent of machine and library versions."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction

from tmkd_deploy.data.samples import Sample

Duplicates = list[Sample]  # all samples with the same pixels, often just one


def stratified_split(
    samples: Sequence[Sample], *, test_fraction: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """The training and the test samples, each in the given order.

    Samples with identical pixels stay in one split. Apart from them, every class and every stratum
    of a class contributes its share to the test split to within one image; each class contributes
    at least one if it can. Samples are selected in the order of the SHA-256 of seed and key,
    because random generators are not stable across library versions.
    """
    by_class: dict[int, dict[str, list[Duplicates]]] = defaultdict(lambda: defaultdict(list))
    for duplicates in _group_duplicates(samples):
        by_class[duplicates[0].label][duplicates[0].stratum].append(duplicates)

    def order(duplicates: Duplicates) -> str:
        return hashlib.sha256(f"{seed}\n{duplicates[0].key}".encode()).hexdigest()

    test_rows: set[int] = set()
    for by_stratum in by_class.values():
        chosen: list[Duplicates] = []
        shares = _shares(by_stratum, Fraction(str(test_fraction)))
        for stratum, share in shares.items():
            chosen += _fill(sorted(by_stratum[stratum], key=order), share)
        candidates = [duplicates for stratum in by_stratum.values() for duplicates in stratum]
        if not chosen and len(candidates) > 1:  # every group is larger than the share
            chosen = [min(candidates, key=len)]
        test_rows.update(sample.row for duplicates in chosen for sample in duplicates)
    train = [sample for sample in samples if sample.row not in test_rows]
    test = [sample for sample in samples if sample.row in test_rows]
    return train, test


def _group_duplicates(samples: Sequence[Sample]) -> list[Duplicates]:
    by_pixels: dict[str, Duplicates] = defaultdict(list)
    for sample in samples:
        by_pixels[sample.pixels].append(sample)
    return list(by_pixels.values())


def _shares(by_stratum: dict[str, list[Duplicates]], fraction: Fraction) -> dict[str, int]:
    """The number of test images per stratum of a class, by the largest-remainder method."""
    sizes = {stratum: sum(map(len, by_stratum[stratum])) for stratum in sorted(by_stratum)}
    exact = {stratum: size * fraction for stratum, size in sizes.items()}
    shares = {stratum: math.floor(share) for stratum, share in exact.items()}
    total = sum(sizes.values())
    target_count = min(max(round(total * fraction), 1), total - 1)
    by_remainder = sorted(sizes, key=lambda stratum: shares[stratum] - exact[stratum])
    for stratum in by_remainder[: target_count - sum(shares.values())]:
        shares[stratum] += 1
    return shares


def _fill(candidates: list[Duplicates], share: int) -> list[Duplicates]:
    """The first of `candidates` that together contain at most `share` images."""
    chosen: list[Duplicates] = []
    for duplicates in candidates:
        if len(duplicates) <= share:
            chosen.append(duplicates)
            share -= len(duplicates)
    return chosen
