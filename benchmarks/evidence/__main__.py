"""Run what has no result yet, then write the table."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from benchmarks.evidence import train
from benchmarks.evidence.plans import FULL
from benchmarks.evidence.rows import ROWS
from benchmarks.evidence.table import write_table
from benchmarks.evidence.teachers import teacher_outputs_key

REPOSITORY = Path(__file__).parent.parent.parent


def main() -> None:
    """Parse the arguments, run, write the table."""
    arguments = _arguments()
    schedule = arguments.schedule or ("full" if _has_gpu() else "short")
    config = train.BenchmarkConfig(
        arguments.data_root, arguments.work, arguments.results, schedule, arguments.threads
    )
    if not arguments.table_only:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            arguments.workers, context, train.exit_with_parent, (os.getpid(),)
        ) as pool:
            for name in arguments.sets:
                _run_set(pool, config, name, arguments.rows, range(arguments.seeds))
    write_table(arguments.results, arguments.table)


def _run_set(
    pool: ProcessPoolExecutor,
    config: train.BenchmarkConfig,
    name: str,
    rows: list[str],
    seeds: Iterable[int],
) -> None:
    missing = [
        (row, seed) for seed in seeds for row in rows if not train.is_done(config, name, row, seed)
    ]
    if not missing:
        print(f"{name}: all results exist.", flush=True)
        return
    started = time.monotonic()
    kinds = {ROWS[row].teacher for row, _ in missing} - {None}
    # the contrastive term's text embeddings require the three-view teacher
    _all(
        pool, train.make_visual_teacher, [(config, name, kind) for kind in {*kinds, "three views"}]
    )
    _all(pool, train.make_text_teacher, [(config, name)])
    by_outputs = {teacher_outputs_key(ROWS[row]): row for row, _ in missing if ROWS[row].teacher}
    _all(pool, train.cache_outputs, [(config, name, row) for row in by_outputs.values()])
    print(f"{name}: the teachers took {time.monotonic() - started:.0f} s.", flush=True)
    runs = [pool.submit(train.run, config, name, row, seed) for row, seed in missing]
    for count, done in enumerate(as_completed(runs), start=1):
        result = done.result()
        print(
            f"{name} {count}/{len(runs)}: {result['row']}, seed {result['seed']}: "
            f"{100 * result['top1']:.2f} % in {result['seconds']:.0f} s "
            f"({time.monotonic() - started:.0f} s in total)",
            flush=True,
        )


def _all(
    pool: ProcessPoolExecutor, work: Callable[..., None], calls: list[tuple[Any, ...]]
) -> None:
    futures: list[Future[None]] = [pool.submit(work, *call) for call in calls]
    for future in futures:
        future.result()


def _has_gpu() -> bool:
    return torch.cuda.is_available()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence",
        description="Trains every row of the evidence table that has no result yet, and writes "
        "docs/explanation/evidence.md.",
    )
    add = parser.add_argument
    add("--data-root", type=Path, required=True, help="folder of the data sets and weights")
    add("--sets", nargs="+", choices=list(FULL), default=list(FULL), help="data sets to run")
    add("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), help="rows to run")
    add("--seeds", type=int, default=3, help="seeds 0, 1, ... of each row")
    add("--schedule", choices=["full", "short"], help="default: full with a GPU, otherwise short")
    add("--workers", type=int, default=os.cpu_count() or 1, help="concurrent runs")
    add("--threads", type=int, default=1, help="CPU threads of each run")
    add(
        "--work", type=Path, default=REPOSITORY / "runs" / "evidence", help="folder of the teachers"
    )
    add("--results", type=Path, default=REPOSITORY / "benchmarks" / "results" / "evidence")
    add("--table", type=Path, default=REPOSITORY / "docs" / "explanation" / "evidence.md")
    add("--table-only", action="store_true", help="write the table from existing results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
