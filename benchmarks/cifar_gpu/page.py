"""The table of what the students reach."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.cifar_gpu.plan import PUBLISHED, ROWS, TOLERANCE


def page(found: dict[str, Any]) -> str:
    """The Markdown page; it compares nothing unless KD and DKD are as published."""
    lines = [
        "# CIFAR-100, ResNet-56 to ResNet-20",
        "",
        "*Written by `python -m benchmarks.cifar_gpu`; do not edit.*",
        "",
        f"Top-1 on the 10,000 test images, in percent, after the last epoch, on "
        f"{found['gpu'] or found['machine']['processor']}, at commit {found['commit']}.",
        "",
        "| Row | Seeds | Top-1 | Over KD, points |",
        "|---|---:|---:|---:|",
    ]
    done = [each for each in found["students"] if each["steps"] == each["of"]]
    by_row = {
        name: {each["seed"]: 100 * each["top1"] for each in done if each["row"] == name}
        for name in ROWS
    }
    missed = [name for name in PUBLISHED if not _is_as_published(name, by_row[name])]
    for name, by_seed in by_row.items():
        if by_seed:
            gain = "" if missed else _gain(by_seed, by_row["kd"])
            lines.append(f"| {ROWS[name].title} | {len(by_seed)} | {_mean(by_seed)} | {gain} |")
    left = len(found["students"]) - len(done)
    if left:
        lines += ["", f"{left} students have not finished."]
    if missed:
        wanted = ", ".join(f"{ROWS[name].title} {PUBLISHED[name]}" for name in missed)
        lines += ["", f"Nothing is compared: {wanted} ± {TOLERANCE} has not been reached."]
    return "\n".join(lines) + "\n"


def _is_as_published(name: str, by_seed: dict[int, float]) -> bool:
    return bool(by_seed) and abs(statistics.mean(by_seed.values()) - PUBLISHED[name]) <= TOLERANCE


def _mean(by_seed: dict[int, float]) -> str:
    mean = statistics.mean(by_seed.values())
    spread = f" ± {statistics.stdev(by_seed.values()):.2f}" if len(by_seed) > 1 else ""
    return f"{mean:.2f}{spread}"


def _gain(by_seed: dict[int, float], kd: dict[int, float]) -> str:
    gains = [value - kd[seed] for seed, value in by_seed.items() if seed in kd]
    return f"{statistics.mean(gains):+.2f}".replace("-", "−") if gains else ""
