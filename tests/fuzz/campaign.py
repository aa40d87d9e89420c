"""`make fuzz`: many hostile inputs with random seeds, and a table of what came of them.

    python tests/fuzz/campaign.py                     100,000 cases
    python tests/fuzz/campaign.py --target images     of one target alone
    python tests/fuzz/campaign.py --replay FILE       one case that was saved

An interrupted campaign goes on where it stopped; `--fresh` begins another. It ends with exit code 1
if a promise was broken; each such case is in `.hypothesis/fuzz/`, the smallest that was seen.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import random
import resource
import subprocess
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from cage import Cage
from fuzzed.targets import TARGETS, missing
from harness import FOUND, fuzz

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
CHUNK = 1500  # cases in one process
SLOWEST_CHUNK_SECONDS = 600.0


def main() -> int:
    """Run what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=25.0, help="stop after this long")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--target", action="append", choices=list(TARGETS))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--fresh", action="store_true", help="forget an interrupted campaign")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--chunk", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.replay:
        return replay(options.replay)
    if options.chunk:
        name, cases, seed = options.chunk
        print(json.dumps(chunk(name, int(cases), int(seed))))
        return 0
    return campaign(options)


def replay(file: Path) -> int:
    """Run one saved case again."""
    name, case = pickle.loads(file.read_bytes())
    with Cage(name) as cage:
        found = cage.run(case, TARGETS[name].seconds)
    print(f"{name}: {ascii(case)[:2000]}")
    for violation in found:
        print(f"{violation.kind} at {violation.place}: {violation.detail}")
    return int(bool(found))


def chunk(name: str, cases: int, seed: int) -> dict[str, Any]:
    """Run some cases of one target in this process."""
    outcome = fuzz(TARGETS[name], cases, seed, SLOWEST_CHUNK_SECONDS)
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "target": name,
        "seed": seed,
        "cases": outcome.cases,
        "seconds": round(outcome.seconds, 1),
        "processor_seconds": round(sum(each.ru_utime + each.ru_stime for each in usage), 1),
        "found": [
            {
                "signature": signature,
                "kind": each.violation.kind,
                "place": each.violation.place,
                "detail": each.violation.detail[:300],
                "times": each.times,
                "case": ascii(each.case)[:300],
                "file": str(each.file.relative_to(ROOT)) if each.file else None,
            }
            for signature, each in outcome.found.items()
        ],
    }


def campaign(options: argparse.Namespace) -> int:
    """Run all chunks that are still to do, at most `jobs` at a time."""
    state_file = FOUND / "campaign.json"
    plan = _plan(options, state_file)
    done: dict[str, Any] = plan["done"]
    began, spent = time.monotonic(), plan["seconds"]
    if done:
        print(f"Going on after {len(done)} of {len(plan['chunks'])} chunks.", flush=True)
    left = [str(index) for index in range(len(plan["chunks"])) if str(index) not in done]
    under_way: dict[Future[dict[str, Any]], str] = {}
    with ThreadPoolExecutor(options.jobs) as workers:
        while left or under_way:
            late = time.monotonic() - began > 60 * options.minutes
            while left and len(under_way) < options.jobs and not late:
                index = left.pop(0)
                under_way[workers.submit(_run_chunk, plan["chunks"][int(index)])] = index
            if not under_way:
                break
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                done[under_way.pop(future)] = outcome = future.result()
                plan["seconds"] = spent + time.monotonic() - began
                state_file.write_text(json.dumps(plan))
                print(
                    f"{outcome['target']:20} {outcome['cases']:6} cases {outcome['seconds']:7.1f} s"
                    f" {len(outcome['found']):3} findings",
                    flush=True,
                )
    report = _report(plan, options)
    _write(report, options.results)
    if not left:
        state_file.unlink(missing_ok=True)
    print((options.results / "fuzz.md").read_text())
    return int(bool(report["found"]))


def _plan(options: argparse.Namespace, state_file: Path) -> dict[str, Any]:
    """The chunks, those of each target spread over the whole campaign, and what is done of them."""
    FOUND.mkdir(parents=True, exist_ok=True)
    names = options.target or list(TARGETS)
    wanted = {"cases": options.cases, "targets": names}
    if state_file.exists() and not options.fresh:
        state: dict[str, Any] = json.loads(state_file.read_text())
        if state["wanted"] == wanted:
            return state
    here = [TARGETS[name] for name in names if not missing(TARGETS[name])]
    for name in {*names} - {target.name for target in here}:
        print(f"{name} is left out: {', '.join(missing(TARGETS[name]))} is not installed.")
    shares = sum(target.share for target in here)
    chunks: list[tuple[float, list[Any]]] = []
    for target in here:
        cases = -int(-options.cases * target.share // shares)
        parts = -(-cases // CHUNK)
        for part in range(parts):
            size = cases // parts + (part < cases % parts)
            seed = options.seed + 1000 * len(chunks)
            chunks.append(((part + 0.5) / parts, [target.name, size, seed]))
    chunks.sort(key=lambda each: each[0])
    return {"wanted": wanted, "seconds": 0.0, "done": {}, "chunks": [each for _, each in chunks]}


def _run_chunk(arguments: list[Any]) -> dict[str, Any]:
    words = [sys.executable, __file__, "--chunk", *map(str, arguments)]
    ended = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    outcome: dict[str, Any] = json.loads(ended.stdout)
    return outcome


def _report(plan: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    rows: dict[str, dict[str, Any]] = {}
    found: dict[str, dict[str, Any]] = {}
    for outcome in plan["done"].values():
        row = rows.setdefault(
            outcome["target"],
            {"target": outcome["target"], "cases": 0, "processor_seconds": 0.0, "findings": 0},
        )
        row["cases"] += outcome["cases"]
        row["processor_seconds"] = round(row["processor_seconds"] + outcome["processor_seconds"], 1)
        for each in outcome["found"]:
            key = f"{outcome['target']}: {each['signature']}"
            if key in found:
                found[key]["times"] += each["times"]
            else:
                found[key] = {"target": outcome["target"], **each}
                row["findings"] += 1
    return {
        "command": "make fuzz" if options.target is None else " ".join(sys.argv),
        "cases": sum(row["cases"] for row in rows.values()),
        "seconds": round(plan["seconds"]),
        "machine": _machine(),
        "targets": sorted(rows.values(), key=lambda row: str(row["target"])),
        "found": list(found.values()),
    }


def _machine() -> dict[str, Any]:
    model = ""
    with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "processor": model or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def _write(report: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fuzz.json").write_text(json.dumps(report, indent=1) + "\n")
    machine = report["machine"]
    lines = [
        "# Hostile input",
        "",
        f"`{report['command']}` ran {report['cases']:,} cases in "
        f"{report['seconds'] / 60:.0f} minutes on {machine['cores']} cores of this processor: "
        f"{machine['processor']}, with Python {machine['python']}. "
        f"It found {len(report['found']) or 'no'} broken promises.",
        "",
        "| Input | Cases | Processor seconds | Findings |",
        "|---|---:|---:|---:|",
        *(
            f"| `{row['target']}` | {row['cases']:,} | {row['processor_seconds']:,.0f} "
            f"| {row['findings']} |"
            for row in report["targets"]
        ),
    ]
    if report["found"]:
        lines += ["", "| Input | What broke | Where | Times |", "|---|---|---|---:|"]
        for each in report["found"]:
            words = each["detail"].splitlines()[0][:120] if each["detail"] else ""
            told = f"{each['kind']}: {words}".replace("|", "/").replace("`", "'")
            lines.append(f"| `{each['target']}` | `{told}` | `{each['place']}` | {each['times']} |")
    (folder / "fuzz.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
