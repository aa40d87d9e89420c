"""How long tmkd-classify takes for its first answer, beside a bare C program on ONNX Runtime.

python -m benchmarks.cpp_start BUNDLE > benchmarks/results/cpp_start.json

Both are whole processes on one thread that classify one image with the bundle's first engine. The
bare program opens the engine as a file and runs it on pixels of its size; tmkd-classify reads the
bundle, checks it and resizes a photograph of 640 x 480 pixels. They run in turns, so that other
work on the machine slows both down alike; the ratio is the median over pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

from tmkd_deploy.measure.latency import machine
from tmkd_deploy.runtime.archive import read_archive

SOURCE = Path(__file__).parent
PAIRS = 200


def seconds(command: list[str]) -> float:
    """The wall time of one run."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


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
    image = folder / "photograph.ppm"
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
    parser.add_argument("--pairs", type=int, default=PAIRS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        programs = commands(arguments.bundle, Path(folder))
        engine_bytes = (Path(folder) / "engine.onnx").stat().st_size
        times: dict[str, list[float]] = {name: [] for name in programs}
        for turn in range(arguments.pairs + 1):
            for name in sorted(programs, reverse=bool(turn % 2)):
                taken = seconds(programs[name])
                if turn:  # the first one fills the file cache
                    times[name].append(taken)
    bare = times["bare"]
    figures = {
        "command": f"python -m benchmarks.cpp_start {arguments.bundle.name}",
        "engine_bytes": engine_bytes,
        "pairs": arguments.pairs,
        "milliseconds": {
            name: {
                "median": round(1e3 * statistics.median(each), 2),
                "fastest": round(1e3 * min(each), 2),
                "p90": round(1e3 * statistics.quantiles(each, n=10)[-1], 2),
            }
            for name, each in times.items()
        },
        "ratio_to_bare": {
            name: {
                "median_of_pairs": round(statistics.median(np.divide(each, bare).tolist()), 3),
                "of_the_fastest": round(min(each) / min(bare), 3),
            }
            for name, each in times.items()
            if name != "bare"
        },
        "load_average": round(os.getloadavg()[0], 2),
        "machine": machine(),
        "onnxruntime": onnxruntime.__version__,
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
