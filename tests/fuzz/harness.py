"""Draws cases for a target, runs each in its cage, and keeps the smallest of each finding."""

from __future__ import annotations

import hashlib
import pickle
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cage import Cage
from fuzzed.target import Target
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from invariants import Violation

FOUND = Path(__file__).parents[2] / ".hypothesis" / "fuzz"
SHOWN = 600  # characters of a case


@dataclass
class Finding:
    """A broken promise, and the smallest case that breaks it."""

    target: str
    violation: Violation
    case: Any
    times: int = 1
    file: Path | None = None

    def __str__(self) -> str:
        case = ascii(self.case)
        shown = case if len(case) <= SHOWN else f"{case[:SHOWN]}... ({len(case)} characters)"
        where = f"\n  Saved in {self.file}" if self.file else ""
        return (
            f"{self.target}: {self.violation.kind} at {self.violation.place or '?'}, "
            f"{self.times} times\n  {self.violation.detail[:400]}\n  Case: {shown}{where}"
        )


@dataclass
class Outcome:
    """What came of fuzzing one target; `found` is keyed by signature."""

    target: str
    cases: int = 0
    seconds: float = 0.0
    found: dict[str, Finding] = field(default_factory=dict)


def fuzz(target: Target, cases: int, seed: int | None, seconds: float = float("inf")) -> Outcome:
    """Run about `cases` cases, and stop after `seconds`.

    Without a seed the cases are the same in every run.
    """
    outcome = Outcome(target.name)
    began = time.monotonic()
    with Cage(target.name) as cage:
        rounds = 0
        while outcome.cases < cases and time.monotonic() - began < seconds:
            before = outcome.cases
            wanted = min(1000, cases - outcome.cases)
            _round(
                target,
                cage,
                wanted,
                None if seed is None else seed + rounds,
                outcome,
                began + seconds,
            )
            rounds += 1
            if outcome.cases == before or seed is None:
                break
    outcome.seconds = time.monotonic() - began
    for finding in outcome.found.values():
        finding.file = save(finding)
    return outcome


def _round(
    target: Target, cage: Cage, cases: int, seed: int | None, outcome: Outcome, until: float
) -> None:
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=seed is None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def one(data: st.DataObject) -> None:
        case = data.draw(_strategy(target))
        if time.monotonic() > until:
            return
        outcome.cases += 1
        for violation in cage.run(case, target.seconds):
            _keep(outcome, violation, case)

    (one if seed is None else seeded(seed)(one))()


_strategies: dict[str, st.SearchStrategy[Any]] = {}


def _strategy(target: Target) -> st.SearchStrategy[Any]:
    if target.name not in _strategies:
        _strategies[target.name] = target.cases()
    return _strategies[target.name]


def _keep(outcome: Outcome, violation: Violation, case: Any) -> None:
    known = outcome.found.get(violation.signature)
    if known is None:
        outcome.found[violation.signature] = Finding(outcome.target, violation, case)
        return
    known.times += 1
    if len(ascii(case)) < len(ascii(known.case)):
        known.violation, known.case = violation, case


def save(finding: Finding) -> Path:
    """Keep a case for `replay.py`; returns its file."""
    FOUND.mkdir(parents=True, exist_ok=True)
    content = pickle.dumps((finding.target, finding.case))
    digest = hashlib.sha256(finding.violation.signature.encode()).hexdigest()[:10]
    path = FOUND / f"{finding.target.replace(' ', '-')}-{digest}.pickle"
    path.write_bytes(content)
    return path
