"""Cages for the regressions: one for each target, shared by the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cage import Cage, Holds
from fuzzed.targets import TARGETS, missing

SECONDS = 30.0


@pytest.fixture(scope="module")
def holds() -> Iterator[Holds]:
    """Asserts that a case of the named target breaks no promise."""
    cages: dict[str, Cage] = {}

    def check(name: str, case: Any) -> None:
        if lacking := missing(TARGETS[name]):
            pytest.skip(f"{', '.join(lacking)} is not installed")
        found = cages.setdefault(name, Cage(name)).run(case, SECONDS)
        assert not found, "\n".join(f"{each.kind} at {each.place}: {each.detail}" for each in found)

    yield check
    for cage in cages.values():
        cage.close()
