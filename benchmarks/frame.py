"""What a camera's frame costs: `predict` beside its engine, and ways to resize 640 x 480 pixels.

python -m benchmarks.frame BUNDLE [--before DIR]

All of it takes turns in one process on one thread, by the latency protocol of the package, so that
ratios hold on a machine that does other work. `--before` is a checkout of an earlier version, whose
`predict` is timed as well. Results: benchmarks/results/frame.json and frame.md.

Ways to resize: Pillow's bilinear filter, as data, Python and C++ resize; the same after
Pillow has reduced the frame by a whole factor (`reducing_gap=2`), which gives other pixels; and the
operator Resize of ONNX Runtime, which claims to follow Pillow.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import PIL
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tmkd_deploy.artifacts import write_text
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.measure.latency import measure_latency
from tmkd_deploy.recipe.schema import Measure
from tmkd_deploy.records.latency import Latency
from tmkd_deploy.runtime.onnxruntime_session import create_session
from tmkd_deploy.runtime.preprocess import Preprocessing

RESULTS = Path(__file__).parent / "results" / "frame.json"
SETTINGS = Measure(threads=1, warmup_seconds=0.5, min_seconds=2.0)
WIDTH, HEIGHT = 640, 480
SIDES = (80, 96, 224)
COMPARED_FRAMES = 20

Resize = Callable[[np.ndarray], np.ndarray]


class Timed:
    """A session that does something else with each image, or with the frame."""

    def __init__(self, process: Callable[[np.ndarray], Any], frame: np.ndarray | None = None):
        self._process, self._frame = process, frame

    def infer(self, images: np.ndarray) -> Any:
        return self._process(images[0] if self._frame is None else self._frame)


def classifier(bundle: Path, before: Path | None = None) -> Any:
    """A bundle opened with this version of the package, or with the one in the folder `before`."""
    if before is None:
        return importlib.import_module("tmkd_deploy.runtime").load(bundle, threads=1)
    own = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("tmkd_")}
    sys.path.insert(0, str(before))
    try:
        runtime = importlib.import_module("tmkd_deploy.runtime")
        if not Path(runtime.__file__ or "").is_relative_to(before):
            raise SystemExit(f"{before} is not a checkout of the package.")
        return runtime.load(bundle, threads=1)
    finally:
        sys.path.remove(str(before))
        sys.modules.update(own)


def answer(model: Any) -> Callable[[np.ndarray], float]:
    """`predict`, and the confidence, which is computed when it is read."""
    return lambda image: model.predict(image).confidence


def by_pillow(side: int) -> Resize:
    return Preprocessing(side, side)


def reduced_first(side: int) -> Resize:
    def resize(frame: np.ndarray) -> np.ndarray:
        whole, bilinear = Image.fromarray(frame), Image.Resampling.BILINEAR
        return np.asarray(whole.resize((side, side), bilinear, reducing_gap=2.0))

    return resize


def by_onnxruntime(side: int) -> Resize:
    filter_ = {"mode": "linear", "antialias": 1, "exclude_outside": 1}
    graph = helper.make_graph(
        [helper.make_node("Resize", ["frame", "", "", "size"], ["resized"], **filter_)],
        "resize",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, HEIGHT, WIDTH, 3])],
        [helper.make_tensor_value_info("resized", TensorProto.UINT8, [1, side, side, 3])],
        [numpy_helper.from_array(np.array([1, side, side, 3], np.int64), "size")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = create_session(model.SerializeToString(), threads=1)
    return lambda frame: session.run(None, {"frame": frame[np.newaxis]})[0][0]


WAYS = {"Pillow": by_pillow, "Reduced first": reduced_first, "ONNX Runtime": by_onnxruntime}


def differences(way: Resize, side: int) -> dict[str, float]:
    """How the pixels of noise differ from those that the package makes."""
    random = np.random.default_rng(1)
    frames = random.integers(0, 256, (COMPARED_FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    found = [way(each).astype(int) - by_pillow(side)(each) for each in frames]
    return {
        "largest": int(np.abs(found).max()),
        "share": round(float(np.mean(np.not_equal(found, 0))), 5),
    }


def measure(bundle: Path, before: Path | None) -> dict[str, Any]:
    random = np.random.default_rng(0)
    frame = random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    model = classifier(bundle)
    side = model.manifest.height, model.manifest.width
    images = random.integers(0, 256, (32, *side, 3), np.uint8)
    sessions: dict[str, Any] = {}
    for name, each in (("before", before and classifier(bundle, before)), ("now", model)):
        if each:
            sessions[f"frame {name}"] = Timed(answer(each), frame)
            sessions[f"predict {name}"] = Timed(answer(each))
    sessions["predict now, label alone"] = Timed(model.predict)
    sessions["engine"] = model._engine._session
    ways = {f"{way} {side}": make(side) for side in SIDES for way, make in WAYS.items()}
    sessions |= {name: Timed(way, frame) for name, way in ways.items()}
    named = {name: (name, session) for name, session in sessions.items()}
    timed = measure_latency(named, images, SETTINGS, 0, SilentEvents())
    return {
        "command": f"python -m benchmarks.frame {bundle.name}{' --before DIR' * bool(before)}",
        "frame": [WIDTH, HEIGHT],
        "engine": {"precision": model.engine.precision, "height_and_width": side},
        "rows": {row.engine: _row(timed, row.engine) for row in timed.rows},
        "ratios": {f"{a} / {b}": _ratio(timed, a, b) for a, b in _compared(bool(before))},
        "differs_from_pillow": {
            name: differences(way, int(name.split()[-1])) for name, way in ways.items()
        },
        "warnings": timed.warnings,
        "machine": timed.machine,
        "versions": {each.__name__: each.__version__ for each in (np, PIL, onnx, onnxruntime)},
    }


def _compared(before: bool) -> Iterator[tuple[str, str]]:
    if before:
        yield from (("frame before", "frame now"), ("predict before", "engine"))
    yield "predict now", "engine"
    yield "predict now, label alone", "engine"
    yield "frame now", "engine"
    for side in SIDES:
        yield from ((f"Pillow {side}", f"{way} {side}") for way in list(WAYS)[1:])


def _row(timed: Latency, name: str) -> dict[str, Any]:
    row = next(each for each in timed.rows if each.engine == name)
    low, high = row.p50_interval_ms
    return {"p50_ms": round(row.p50_ms, 4), "interval_ms": [round(low, 4), round(high, 4)]}


def _ratio(timed: Latency, above: str, below: str) -> dict[str, Any]:
    for each in timed.ratios:
        if (each.numerator, each.denominator) == (above, below):
            return {"ratio": round(each.ratio, 3), "interval": [round(x, 3) for x in each.interval]}
    raise KeyError(above, below)


def page(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "# A camera's frame",
        "",
        f"*Written by `{found['command']}`; do not edit.*",
        "",
        f"One thread of {found['machine']['processor']}; medians of one interleaved run, with 95 % "
        f"intervals. The engine is the bundle's, {found['engine']['precision'].upper()} at "
        f"{' x '.join(map(str, found['engine']['height_and_width']))} pixels; a frame has "
        f"{WIDTH} x {HEIGHT}. Differences are those from Pillow's pixels, of {COMPARED_FRAMES} "
        "frames of noise.",
        "",
        "| What | ms | Largest difference | Values that differ |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, row in found["rows"].items():
        low, high = row["interval_ms"]
        difference = found["differs_from_pillow"].get(name)
        differs = f"{difference['largest']} | {difference['share']:.2%}" if difference else "– | –"
        lines.append(f"| {name} | {row['p50_ms']:.3f} ({low:.3f} to {high:.3f}) | {differs} |")
    lines += ["", "| Ratio | |", "| --- | ---: |"]
    for name, each in found["ratios"].items():
        low, high = each["interval"]
        lines.append(f"| {name} | {each['ratio']:.2f} ({low:.2f} to {high:.2f}) |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--before", type=Path)
    arguments = parser.parse_args()
    found = measure(arguments.bundle, arguments.before and arguments.before.resolve())
    write_text(RESULTS, json.dumps(found, indent=1) + "\n")
    write_text(RESULTS.with_suffix(".md"), page(found))


if __name__ == "__main__":
    main()
