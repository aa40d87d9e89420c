"""Draw the models, take what has no result yet from its name to an engine, and write the page."""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision

from benchmarks.demo_seeds import REPOSITORY, package_commit
from benchmarks.reach.page import page
from tmkd_deploy.artifacts import write_text
from tmkd_deploy.measure.latency import machine

DRAWN = 200
SEED = 0
LARGEST = 100e6  # parameters; what is larger is no student for a small device
SECONDS_AT_MOST = 1800


def main() -> None:
    """Write the figures and the page after each model; stop when the minutes are spent."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reach")
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--models", nargs="+", help="only these, of those drawn")
    parser.add_argument("--again", action="store_true", help="also what was refused or failed")
    parser.add_argument("--results", type=Path, default=REPOSITORY / "benchmarks" / "results")
    arguments = parser.parse_args()
    ends = time.monotonic() + 60 * arguments.minutes
    file = arguments.results / "reach.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"models": {}}
    drawn = found.get("drawn") or _drawn()
    results: dict[str, Any] = found["models"]
    for name in arguments.models or drawn:
        if time.monotonic() > ends:
            break
        before = results.get(name)
        if before and not (arguments.again and before["status"] != "built"):
            continue
        results[name] = {**_result(name), "commit": package_commit()}
        print(json.dumps(results[name]), flush=True)
        found = {
            "command": "python -m benchmarks.reach",
            "machine": machine(),
            "versions": {"torch": torch.__version__, "timm": timm.__version__},
            "seed": SEED,
            "drawn": drawn,
            "models": {each: results[each] for each in drawn if each in results},
        }
        write_text(file, json.dumps(found, indent=1) + "\n")
        write_text(file.with_suffix(".md"), page(found))


def _drawn() -> list[str]:
    """torchvision's classifiers, then timm's models in the order of the draw."""
    every = sorted(timm.list_models())
    random.Random(SEED).shuffle(every)
    kept: list[str] = []
    for name in every:
        if len(kept) == DRAWN:
            break
        if _parameters(name) <= LARGEST:
            kept.append(name)
    classifiers = torchvision.models.list_models(module=torchvision.models)
    own = [name for name in classifiers if _parameters(f"torchvision:{name}") <= LARGEST]
    return [*(f"torchvision:{name}" for name in own), *kept]


def _parameters(name: str) -> float:
    if name.startswith("torchvision:"):
        published = torchvision.models.get_model_weights(name.partition(":")[2]).DEFAULT
        return float(published.meta["num_params"])
    with torch.device("meta"):
        model = timm.create_model(name)
    return float(sum(parameter.numel() for parameter in model.parameters()))


def _result(name: str) -> dict[str, Any]:
    """In a process of its own, so that a crash is a result too."""
    command = [sys.executable, "-m", "benchmarks.reach.one_model", name]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=SECONDS_AT_MOST
        )
    except subprocess.TimeoutExpired:
        return {"model": name, "status": "too slow", "says": f"more than {SECONDS_AT_MOST} s"}
    try:
        result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        return {"model": name, "status": "failed", "says": last[0][:500]}
    return result


if __name__ == "__main__":
    main()
