"""Coverage-guided fuzzing of the same targets, where atheris is installed.

    python tests/fuzz/atheris_driver.py images -max_total_time=600

Atheris changes the bytes that Hypothesis draws from, and keeps those that reach new lines of this
package. Everything runs in this process: a finding ends it and is written to `crash-*`, as are a
hang and a blow-up, which libFuzzer watches for. The coverage is that of Python code alone.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tmkd_deploy"]):
    from fuzzed.targets import TARGETS

    for module in ("cli.main", "runtime", "devices.device", "data.prepare", "recipe.load"):
        __import__(f"tmkd_deploy.{module}")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from invariants import Watch, judge

LIMITS = ["-timeout=30", "-rss_limit_mb=4096"]


def main() -> None:
    """Fuzz the target that is named first; other arguments are libFuzzer's."""
    target = TARGETS[sys.argv[1]]
    home = Path(tempfile.mkdtemp(prefix="fuzz-atheris-"))
    (home / "canary").mkdir()
    watch = Watch(home)
    strategy = target.cases()

    @settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def one(data: st.DataObject) -> None:
        case = data.draw(strategy)
        with tempfile.TemporaryDirectory(dir=home) as work:
            attempts = target.attempts(case, Path(work))
            found = judge(attempts, target.documented, watch, target.processes)
        assert not found, f"{found}\nCase: {case!a}"

    with atheris.instrument_imports(include=["tmkd_deploy"]):
        for attempt in target.attempts(target.example(), Path(tempfile.mkdtemp(dir=home))):
            attempt()
    atheris.Setup([sys.argv[0], *LIMITS, *sys.argv[2:]], one.hypothesis.fuzz_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
