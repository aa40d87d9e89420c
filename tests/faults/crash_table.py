"""The table that `make crash` writes: how many kills where, and how the runs ended."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One kill: the stage whose files were being changed, the signal, and the exit code."""

    stage: str
    signal: str
    code: int


@dataclass
class Outcome:
    """How a round ended."""

    seed: int
    rows: list[Row]
    equal: bool = False
    different: list[str] = field(default_factory=list)
    seconds: float = 0.0


@contextlib.contextmanager
def collected(seed: int, rows: list[Row]) -> Iterator[Outcome]:
    """Write the table anew, this round included, if CRASH_RESULTS names a folder for it."""
    outcome, begun = Outcome(seed, rows), time.monotonic()
    try:
        yield outcome
    finally:
        outcome.seconds = round(time.monotonic() - begun, 1)
        _ended.append(outcome)
        if folder := os.environ.get("CRASH_RESULTS"):
            _write(Path(folder))


_ended: list[Outcome] = []


def _write(folder: Path) -> None:
    table = {
        "command": "make crash",
        "restarts": sum(len(each.rows) for each in _ended),
        "machine": f"{os.cpu_count()} cores, {_processor()}, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}",
        "rounds": [asdict(each) for each in _ended],
    }
    (folder / "crash.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    text = _markdown(table)
    (folder / "crash.md").write_text(text, encoding="utf-8")
    print(text)


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _markdown(table: dict[str, Any]) -> str:
    rounds = table["rounds"]
    rows = [row for each in rounds for row in each["rows"]]
    kills = Counter((row["stage"], row["signal"]) for row in rows)
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    equal = sum(each["equal"] for each in rounds)
    lines = [
        f"# {len(rows)} kills in {len(rounds)} runs",
        "",
        f"`{table['command']}` on {table['machine']}. After each kill the same command was started "
        f"again. {equal} of {len(rounds)} runs ended as the undisturbed run did: the same weights, "
        "ONNX files, arrays and verdict, and nothing left behind.",
        "",
        "| Stage | `SIGKILL` | `SIGTERM` |",
        "|---|---:|---:|",
        *(
            f"| `{stage}` | {kills[stage, 'SIGKILL']} | {kills[stage, 'SIGTERM']} |"
            for stage in stages
        ),
        "",
        "| Seed | Kills | End state | Seconds |",
        "|---:|---:|---|---:|",
    ]
    for each in rounds:
        end = "equal" if each["equal"] else "different: " + ", ".join(each["different"][:3])
        lines.append(f"| {each['seed']} | {len(each['rows'])} | {end} | {each['seconds']:.0f} |")
    return "\n".join(lines) + "\n"
