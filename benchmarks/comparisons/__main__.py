"""Train the students that have no result yet, and write the page."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.comparisons.data import Pool, Split
from benchmarks.comparisons.page import write_page
from benchmarks.comparisons.protocol import (
    ROWS,
    SETS,
    SPLITS,
    STUDENTS,
    TRICKS,
    fingerprint,
    rows_of,
)
from benchmarks.comparisons.students import run
from benchmarks.comparisons.teachers import Teachers
from benchmarks.demo_seeds import REPOSITORY, package_commit
from tmkd_deploy.artifacts import write_text
from tmkd_deploy.measure.latency import machine


def main() -> None:
    """Every set's first split, then every set's second one, and so on; stop after the minutes."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    until = time.monotonic() + 60 * arguments.minutes
    pools: dict[str, Pool] = {}
    for number in range(0 if arguments.page_only else SPLITS):
        for name in arguments.sets:
            results = Results(arguments.results / f"{name}-{number}.json")
            rows = [row for row in rows_of(name) if row in arguments.rows]
            for row, seed in results.missing(name, rows):
                if time.monotonic() > until:
                    break
                if name not in pools:
                    pools[name] = Pool(name, arguments.data_root)
                split = pools[name].splits[number]
                teachers = Teachers(split, number, arguments.work / f"{name}-{number}")
                results.add(name, row, seed, number, split, teachers)
    write_page(arguments.results, arguments.page)


class Results:
    """The students of one split of one data set, in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        empty: dict[str, Any] = {"students": {}}
        self.found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else empty

    def missing(self, name: str, rows: list[str]) -> list[tuple[str, int]]:
        """The rows and seeds without a result of the present constants."""
        students = self.found["students"]
        return [
            (row, seed)
            for row in rows
            for seed in range(STUDENTS)
            if students.get(f"{row} {seed}", {}).get("fingerprint") != fingerprint(name, row)
        ]

    def add(
        self, name: str, row: str, seed: int, number: int, split: Split, teachers: Teachers
    ) -> None:
        """Train one student and write its result."""
        result = run(row, split, teachers, 10 * number + seed)
        self.found |= {
            "set": name,
            "split": number,
            "labels": split.labels("test").tolist(),
            "images": {part: len(rows) for part, rows in split.rows.items()},
            "machine": machine(),
            "commit": package_commit(),
        }
        self.found["students"][f"{row} {seed}"] = {
            "row": row,
            "seed": seed,
            "fingerprint": fingerprint(name, row),
            **result,
        }
        write_text(self._file, json.dumps(self.found, indent=1) + "\n")
        print(
            f"{name} {number}: {row} {seed}: top-1 {100 * result['top1']:.1f} %, "
            f"NLL {result['nll']:.3f}, {result['seconds']:.0f} s",
            flush=True,
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.comparisons",
        description="Train the students of the comparisons that have no result yet.",
    )
    add = parser.add_argument
    add("--data-root", type=Path, required=True, help="folder of the Parquet data sets")
    add("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    add("--rows", nargs="+", choices=[*ROWS, *TRICKS], default=[*ROWS, *TRICKS])
    add("--minutes", type=float, default=float("inf"), help="start no student after so many")
    add("--threads", type=int, default=1)
    add("--work", type=Path, default=REPOSITORY / "runs" / "comparisons")
    add("--results", type=Path, default=REPOSITORY / "benchmarks" / "results" / "comparisons")
    add("--page", type=Path, default=REPOSITORY / "docs" / "explanation" / "comparisons.md")
    add("--page-only", action="store_true", help="write the page from the results at hand")
    return parser.parse_args()


if __name__ == "__main__":
    main()
