"""How long tmkd-classify takes for its first answer, beside a bare C program on ONNX Runtime.

python -m benchmarks.cpp_start BUNDLE > benchmarks/results/cpp_start.json

Both are whole processes on one thread that classify one image with the bundle's first engine. The
bare program opens the engine as a file and runs it on pixels of its size; tmkd-classify reads the
bundle, checks it and resizes noise of 640 x 480 pixels. They run in turns, so that other work on
the machine slows them down alike; `ratio_median` is the median over turns.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from PIL import Image

from tmkd_deploy.measure.latency import machine
from tmkd_deploy.runtime.archive import read_archive

SOURCE = Path(__file__).parent
TURNS = 200


class Taken(NamedTuple):
    """Seconds of one run: on the clock, and of the processor."""

    wall: float
    processor: float


def taken_by(command: list[str]) -> Taken:
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Taken(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def summary(name: str, runs: dict[str, list[Taken]]) -> dict[str, float]:
    """Milliseconds of a program, and their ratio to the bare one's in the same turn."""
    figures = {}
    for kind in Taken._fields:
        own, bare = (
            np.array([getattr(run, kind) for run in runs[each]]) for each in (name, "bare")
        )
        figures |= {
            f"{kind}_ms_median": round(1e3 * float(np.median(own)), 2),
            f"{kind}_ms_fastest": round(1e3 * float(own.min()), 2),
            f"{kind}_ratio_median": round(float(np.median(own / bare)), 3),
            f"{kind}_ratio_of_the_fastest": round(float(own.min() / bare.min()), 3),
        }
    return figures


def build(folder: Path) -> None:
    root = Path(onnxruntime.__file__).parent
    configure = ["cmake", "-S", str(SOURCE), "-B", str(folder), f"-DONNXRUNTIME_ROOT={root}"]
    for command in (configure, ["cmake", "--build", str(folder)]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def commands(bundle: Path, folder: Path) -> dict[str, list[str]]:
    """The two programs with their arguments."""
    contents = read_archive(bundle)
    manifest: Any = contents.manifest
    first = manifest.engines[0] if hasattr(manifest, "engines") else manifest
    engine = folder / "engine.onnx"
    engine.write_bytes(contents.members[first.engine])
    image = folder / "noise.ppm"
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(image)
    size = [manifest.height, manifest.width, len(manifest.class_names)]
    classify = [str(folder / "tmkd" / "tmkd-classify"), str(bundle), str(image), "--threads", "1"]
    return {
        "tmkd-classify": classify,
        "tmkd-classify --verify": [*classify, "--verify"],
        "bare": [str(folder / "bare"), str(engine), *map(str, size)],
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--turns", type=int, default=TURNS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        programs = commands(arguments.bundle, Path(folder))
        engine_bytes = (Path(folder) / "engine.onnx").stat().st_size
        runs: dict[str, list[Taken]] = {name: [] for name in programs}
        for turn in range(arguments.turns + 1):
            for name in sorted(programs, reverse=bool(turn % 2)):
                taken = taken_by(programs[name])
                if turn:  # the first one fills the file cache
                    runs[name].append(taken)
    figures = {
        "command": f"python -m benchmarks.cpp_start {arguments.bundle.name}",
        "engine_bytes": engine_bytes,
        "turns": arguments.turns,
        "programs": {name: summary(name, runs) for name in runs},
        "load_average": round(os.getloadavg()[0], 2),
        "machine": machine(),
        "onnxruntime": onnxruntime.__version__,
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
