"""Threads are counted by the cores that a process may use, not by those there are."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tmkd_deploy.runtime.cores import available_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no processes")
def test_a_pinned_process_counts_its_own_cores() -> None:
    count = "from tmkd_deploy.runtime.cores import available_cores as c; print(c())"
    first = min(os.sched_getaffinity(0))
    pinned = f"import os; os.sched_setaffinity(0, [{first}]); {count}"
    counted = subprocess.check_output([sys.executable, "-c", pinned], text=True)
    assert counted.strip() == "1"


def test_there_is_at_least_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores() == 1
