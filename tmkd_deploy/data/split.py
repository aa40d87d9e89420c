"""The stratified split: exact where it can be, and independent of machine and library versions."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from tmkd_deploy.data.groups import united
from tmkd_deploy.data.samples import Sample

Cell = tuple[int, str]  # a class and a stratum of it


def stratified_split(
    samples: Sequence[Sample],
    *,
    fraction: float | Fraction,
    seed: int,
    leave: int = 1,
    similar: Sequence[tuple[str, str]] = (),
) -> tuple[list[Sample], list[Sample]]:
    """The samples that stay and those held out, each in the given order.

    Samples of one group, with identical pixels, or whose pixels are a pair of `similar`, stay
    together. Where every sample is on
    its own, every class and every stratum of a class contributes its share to within one image, and
    each class at least one if it can. Groups are taken as they fit; what is then missing in a class
    is less than the smallest group left in it, if that has images of this class alone. At least
    `leave` groups of every class stay. Samples are selected in the order of the SHA-256 of seed and
    key, because random generators are not stable across library versions.
    """
    units = sorted(map(_Unit.of, united(samples, similar)), key=lambda unit: unit.order(seed))
    held = _HeldOut(units, Fraction(str(fraction)), leave)
    for unit in units:
        if held.has_room_for(unit):
            held.add(unit)
    for unit in sorted(units, key=_Unit.size):  # one too many is better than many too few
        if held.cost_of(unit) < 0 and held.may_take(unit):
            held.add(unit)
    for label in sorted({sample.label for sample in samples}):
        if not held.has(label):
            candidates = [unit for unit in units if label in unit.labels and held.may_take(unit)]
            if candidates:
                held.add(min(candidates, key=lambda unit: (held.cost_of(unit), unit.size())))
    rows = held.rows()
    return (
        [sample for sample in samples if sample.row not in rows],
        [sample for sample in samples if sample.row in rows],
    )


def stratified_folds(
    samples: Sequence[Sample], *, of: int, seed: int, similar: Sequence[tuple[str, str]] = ()
) -> list[list[Sample]]:
    """All samples in `of` disjoint folds, each a stratified split of what the former ones leave.

    What stays together in a split does so here. Without such groups, the folds' numbers of images
    of a class differ by one at most. Every fold has images of a class that has enough groups.
    """
    folds, rest = [], list(samples)
    for left in range(of, 1, -1):
        rest, fold = stratified_split(
            rest, fraction=Fraction(1, left), seed=seed, leave=left - 1, similar=similar
        )
        folds.append(fold)
    return [*folds, rest]


@dataclass(frozen=True, eq=False, slots=True)
class _Unit:
    """Samples that stay together, and how many of them are in each cell."""

    samples: list[Sample]
    cells: tuple[tuple[Cell, int], ...]
    labels: frozenset[int]

    @classmethod
    def of(cls, samples: list[Sample]) -> _Unit:
        cells: dict[Cell, int] = {}
        for sample in samples:  # a Counter takes several times as long for the usual single sample
            cell = sample.label, sample.stratum
            cells[cell] = cells.get(cell, 0) + 1
        return cls(samples, tuple(sorted(cells.items())), frozenset(label for label, _ in cells))

    def size(self) -> int:
        return len(self.samples)

    def order(self, seed: int) -> str:
        key = min(sample.key for sample in self.samples)
        return hashlib.sha256(f"{seed}\n{key}".encode()).hexdigest()


class _HeldOut:
    """The units held out so far, against the share of each cell."""

    def __init__(self, units: Sequence[_Unit], fraction: Fraction, leave: int) -> None:
        self._sizes: Counter[Cell] = Counter()
        self._left: Counter[int] = Counter()  # units by class
        for unit in units:
            for cell, count in unit.cells:
                self._sizes[cell] += count
            for label in unit.labels:
                self._left[label] += 1
        self._shares = _shares(self._sizes, fraction)
        self._held: Counter[Cell] = Counter()
        self._labels: set[int] = set()
        self._units: set[_Unit] = set()
        self._leave = leave

    def add(self, unit: _Unit) -> None:
        self._units.add(unit)
        for cell, count in unit.cells:
            self._held[cell] += count
        for label in unit.labels:
            self._left[label] -= 1
        self._labels |= unit.labels

    def has(self, label: int) -> bool:
        return label in self._labels

    def may_take(self, unit: _Unit) -> bool:
        return unit not in self._units and all(
            self._left[label] > self._leave for label in unit.labels
        )

    def has_room_for(self, unit: _Unit) -> bool:
        return self.may_take(unit) and all(
            self._held[cell] + count <= self._shares[cell] for cell, count in unit.cells
        )

    def cost_of(self, unit: _Unit) -> float:
        """How the squared distance from the shares would change, relative to the cells' sizes."""
        return sum(
            count * (count + 2 * (self._held[cell] - self._shares[cell])) / self._sizes[cell]
            for cell, count in unit.cells
        )

    def rows(self) -> set[int]:
        return {sample.row for unit in self._units for sample in unit.samples}


def _shares(sizes: Counter[Cell], fraction: Fraction) -> dict[Cell, int]:
    """The number of images to hold out per cell."""
    by_class: dict[int, dict[Cell, int]] = defaultdict(dict)
    for cell in sorted(sizes):
        by_class[cell[0]][cell] = sizes[cell]
    shares: dict[Cell, int] = {}
    for cells in by_class.values():
        shares.update(_shares_of_class(cells, fraction))
    return shares


def _shares_of_class(sizes: dict[Cell, int], fraction: Fraction) -> dict[Cell, int]:
    """The shares of a class's strata, by the largest-remainder method."""
    exact = {cell: size * fraction for cell, size in sizes.items()}
    shares = {cell: math.floor(share) for cell, share in exact.items()}
    total = sum(sizes.values())
    target_count = min(max(round(total * fraction), 1), total - 1)
    by_remainder = sorted(sizes, key=lambda cell: shares[cell] - exact[cell])
    for cell in by_remainder[: target_count - sum(shares.values())]:
        shares[cell] += 1
    return shares
