"""A few thousand hostile inputs, the same in every run; `make fuzz` runs many more."""

from __future__ import annotations

import pytest
from fuzzed.targets import TARGETS, missing
from harness import fuzz

CASES = 3000
SHARES = sum(target.share for target in TARGETS.values())


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_input_is_refused_in_the_documented_way(name: str) -> None:
    target = TARGETS[name]
    if lacking := missing(target):
        pytest.skip(f"{', '.join(lacking)} is not installed")
    cases = max(20, round(CASES * target.share / SHARES))
    found = fuzz(target, cases, seed=None).found
    assert not found, "\n".join(str(each) for each in found.values())
