"""Verify a bundle in a process of its own, with a deadline and bounded memory.

An engine from a stranger may ask for any amount of time and memory, and inside a runtime neither
Ctrl-C nor SIGTERM reaches Python. Another process can be ended from outside.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tmkd_deploy.errors import DataError, EnvironmentProblem

DEADLINE_S = 600
MEMORY_BYTES = 8 << 30
# the path of this process, so that no module from the current folder is imported instead
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[4:]; from tmkd_deploy.bundle import verify_process; "
    "verify_process.main(*sys.argv[1:4])"
)
_ADVICE = (
    "Do not use it unless you trust its origin and expect this; if so, verify it from Python with "
    "`tmkd_deploy.runtime.verify`, which sets no limits."
)


def verify_apart(
    file: Path, *, deadline_s: int = DEADLINE_S, memory_bytes: int = MEMORY_BYTES
) -> dict[str, Any]:
    """Verify a bundle as `tmkd_deploy.runtime.verify` does.

    Args:
        file: the bundle.
        deadline_s: seconds until the process is ended, at least 1.
        memory_bytes: of data that the process may hold, shared libraries not included.

    Returns:
        The `VerifyReport` as JSON.

    Raises:
        DataError: the bundle cannot be used, or its engine exceeds a limit.
        EnvironmentProblem: the process ended without a result.
    """
    limits = [str(deadline_s), str(memory_bytes)]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(file), *limits, *sys.path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        # a native library's messages may contain whatever the engine does
        stderr=None if os.environ.get("TMKD_DEBUG") else subprocess.DEVNULL,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    if done.returncode == -signal.SIGALRM:
        raise DataError(
            f"The bundle cannot be verified within {deadline_s} s.", where=str(file), advice=_ADVICE
        )
    if done.returncode != 0:
        raise EnvironmentProblem(
            f"The process that verifies the bundle ended with code {done.returncode}.",
            where=str(file),
            advice="Its engine may have crashed its runtime; do not use it here. TMKD_DEBUG=1 "
            "shows the process's messages.",
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    if "problem" in answer:
        raise DataError(**answer)
    return answer


def main(file: str, deadline_s: str, memory_bytes: str) -> None:
    """Verify `file` in this process and print the report, or the problem, as JSON."""
    signal.alarm(int(deadline_s))  # without a handler, it ends the process, whatever it is doing
    from tmkd_deploy.runtime import BundleError, verify  # noqa: PLC0415

    _limit_memory(int(memory_bytes))
    try:
        answer = dataclasses.asdict(verify(Path(file)))
    except BundleError as error:
        answer = {"problem": error.problem, "where": error.where, "advice": error.advice}
    except MemoryError:
        limit = f"{int(memory_bytes) / (1 << 30):.1f} GiB"
        problem = f"Verifying the bundle takes more than {limit} of memory."
        answer = {"problem": problem, "where": file, "advice": _ADVICE}
    print(json.dumps(answer))


def _limit_memory(wanted: int) -> None:
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    lowest = min([wanted, *(limit for limit in limits if limit != resource.RLIM_INFINITY)])
    resource.setrlimit(resource.RLIMIT_DATA, (lowest, limits[1]))
