"""How long `tmkd-deploy --help` takes: the median of ten whole processes after one warm-up.

python -m benchmarks.startup > benchmarks/results/startup.json
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

from tmkd_deploy.measure.latency import machine

RUNS = 10
COMMAND = [sys.executable, "-m", "tmkd_deploy", "--help"]


def seconds() -> float:
    """The wall time of one run of the command."""
    begun = time.perf_counter()
    subprocess.run(COMMAND, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    """Print the figures as JSON."""
    seconds()
    times = [seconds() for _ in range(RUNS)]
    figures = {
        "command": "python -m tmkd_deploy --help",
        "runs": RUNS,
        "median_seconds": round(statistics.median(times), 3),
        "fastest_seconds": round(min(times), 3),
        "slowest_seconds": round(max(times), 3),
        "load_average": round(os.getloadavg()[0], 2),
        "machine": machine(),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
