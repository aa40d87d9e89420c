"""The tables of docs/explanation/students.md, and the families that `recipe check` warns of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.quantizability import race_table
from benchmarks.quantizability.families import FAMILIES, LATENCY_SIZES, PREFIXES

BEGIN, END = "<!-- tables:begin -->", "<!-- tables:end -->"
WARNINGS = Path(__file__).parents[2] / "tmkd_deploy" / "recipe" / "families.yaml"
# the budget that the table assumes
ALLOWED_POINTS = 1.0

_PARTS = {"accuracy", "latency", "tensorrt_rtx"}

Result = dict[str, Any]


def write_page(results: Path, page: Path) -> None:
    """Write the tables between the page's marks, and the warnings into the package."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    text = f"{before}{BEGIN}\n\n{render(results)}\n{END}{after}"
    page.write_text(text, encoding="utf-8")
    WARNINGS.write_text(render_warnings(results), encoding="utf-8")


def render(results: Path) -> str:
    """All tables, for the families that have complete results."""
    found = read(results)
    parts = [_machine(found), _latency(found), _accuracy(found), _rtx(found), _beside(found)]
    return "\n".join([*parts, *filter(None, [race_table.render(found)])])


def read(results: Path) -> dict[str, Result]:
    """The complete results by family, in the order of the page."""
    files = {family: results / f"{family}.json" for family in FAMILIES}
    found = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    return {name: each for name, each in found.items() if set(each) >= _PARTS}


def ratio(result: Result, size: int, name: str, over: str = "fp32") -> tuple[float, float, float]:
    """The ratio of the time of `name` to that of `over`, with its interval."""
    return race_table.ratio(result["latency"][str(size)], name, over)


def row(result: Result, name: str, seed: int = 0) -> Result:
    """The accuracy of one representation."""
    found: Result = next(
        each for each in result["accuracy"] if (each["row"], each["seed"]) == (name, seed)
    )
    return found


def ships(result: Result, size: int) -> str:
    """The engine that the gate ships: the fastest of those that lose at most one point."""
    milliseconds = result["latency"][str(size)]["milliseconds"]
    faster = milliseconds["int8"] < milliseconds["fp32"]
    accurate = -row(result, "int8")["change_points"] <= ALLOWED_POINTS
    return "INT8" if faster and accurate else "FP32"


def recommended(result: Result) -> str:
    """The method that ONNX Runtime's documentation recommends: eight bits require VNNI."""
    return "quantize_static" if result["machine"]["vnni"] is True else "quantize_static_7bit"


def behind(result: Result, size: int) -> str:
    """Whether INT8 is behind `quantize_static` in both speed and accuracy, and significantly."""
    other = recommended(result)
    times, low, _ = ratio(result, size, "int8", other)
    points = row(result, "int8")["top1"] - row(result, other)["top1"]
    if times <= 1 or points >= 0:
        return "no"
    significant = low > 1 and row(result, other)["p_value_against_int8"] < 0.05
    return "yes" if significant else "not shown"


def render_warnings(results: Path) -> str:
    """The families that are slower in INT8, each with the closest faster alternative, as YAML.

    The closest family is the one with the most similar FP32 latency at the larger size.
    """
    found = read(results)
    size = LATENCY_SIZES[-1]
    losers = {name for name, each in found.items() if _loses(each)}
    winners = [name for name in found if name not in losers]
    entries = []
    for name in found:
        if name not in losers or not winners:
            continue
        own = _fp32(found[name], size)
        nearest = min(winners, key=lambda other: abs(_fp32(found[other], size) - own))
        entries.append(
            {
                "prefix": PREFIXES[name],
                "measured": name,
                "runtime": "onnxruntime",
                "times_as_long": {
                    each: round(ratio(found[name], each, "int8")[0], 2) for each in LATENCY_SIZES
                },
                "instead": nearest,
            }
        )
    head = (
        "# Families of students whose INT8 engine is slower than their FP32 engine, by runtime.\n"
        "# Written by `python -m benchmarks.quantizability`; all figures are in\n"
        "# docs/explanation/students.md.\n"
    )
    return head + yaml.safe_dump(entries, sort_keys=False)


def _fp32(result: Result, size: int) -> float:
    milliseconds: float = result["latency"][str(size)]["milliseconds"]["fp32"]
    return milliseconds


def _loses(result: Result) -> bool:
    """Whether INT8 is significantly slower than FP32 at every size."""
    return all(ratio(result, size, "int8")[1] > 1 for size in LATENCY_SIZES)


def _machine(found: dict[str, Result]) -> str:
    first = next(iter(found.values()))
    machine, training = first["machine"], first["training"]
    vnni = "with VNNI" if machine["vnni"] is True else "without VNNI"
    return (
        f"Measured on {machine['processor']} ({machine['cores']} cores, {vnni}) with one thread "
        f"and ONNX Runtime {first['versions']['onnxruntime']}; trained on {training['images']} "
        f"images of {training['data']} at {training['pixels']} px for {training['epochs']} epochs, "
        f"tested on {training['test_images']}.\n"
    )


def _latency(found: dict[str, Result]) -> str:
    sizes = LATENCY_SIZES

    def rows() -> Iterator[list[str]]:
        for name, each in found.items():
            layers = each["layers"]
            yield [
                f"`{name}`",
                f"{layers['int8']} of {layers['all']}",
                *(f"{_fp32(each, size):.2f}" for size in sizes),
                *(_ratio(each, size, "int8") for size in sizes),
                *(_ratio(each, size, recommended(each)) for size in sizes),
            ]

    columns = ["Family", "Layers in integers"]
    for title in ("FP32 ms", "INT8", "quantize_static"):
        columns += [f"{title}, {size} px" for size in sizes]
    return (
        "## Latency under ONNX Runtime\n\n"
        "Median time at batch 1: FP32 in milliseconds, the others as a multiple of FP32 in the "
        "same interleaved run, with 95 % intervals. Below 1 is faster than FP32.\n\n"
    ) + race_table.table(columns, rows())


def _accuracy(found: dict[str, Result]) -> str:
    seeds = sorted({each["seed"] for result in found.values() for each in result["accuracy"]})

    def rows() -> Iterator[list[str]]:
        for name, each in found.items():
            for seed in seeds:
                if not any(one["seed"] == seed for one in each["accuracy"]):
                    continue
                yield [
                    f"`{name}`" if len(seeds) == 1 else f"`{name}`, seed {seed}",
                    f"{100 * row(each, 'fp32', seed)['top1']:.1f} %",
                    _change(row(each, "calibrated", seed)),
                    _change(row(each, "int8", seed)),
                    _change(row(each, "quantize_static", seed)),
                    _change(row(each, "quantize_static_7bit", seed)),
                    f"{100 * row(each, 'int8', seed)['agreement_with_fake']:.2f} %",
                ]

    columns = [
        "Family",
        "FP32 top-1",
        "Ours, calibration only",
        "INT8 engine",
        "quantize_static",
        "quantize_static, 7 bits",
        "Agreement",
    ]
    return (
        "## Accuracy\n\n"
        "Change in top-1 in points against the FP32 student, with paired 95 % intervals. Agreement "
        "is between the INT8 engine and the fake-quantized student in torch. The INT8 engine's "
        "student was fine-tuned for two more epochs, which may gain points by itself; "
        f"{len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}.\n\n"
    ) + race_table.table(columns, rows())


def _rtx(found: dict[str, Result]) -> str:
    def rows() -> Iterator[list[str]]:
        for name, each in found.items():
            built = each["tensorrt_rtx"]
            sizes = built["megabytes"]
            yield [
                f"`{name}`",
                f"{built['int8_layers']} of {built['all_layers']}",
                *(f"{sizes[precision]:.2f}" for precision in ("fp32", "fp16", "int8")),
            ]

    built = next(iter(found.values()))["tensorrt_rtx"]
    columns = ["Family", "Layers with INT8 inputs", "FP32 MB", "FP16 MB", "INT8 MB"]
    return (
        "## TensorRT-RTX\n\n"
        f"Engines for {built['target']} at {built['size']} px, built without a GPU. Their speed "
        "was not measured.\n\n"
    ) + race_table.table(columns, rows())


def _beside(found: dict[str, Result]) -> str:
    def rows() -> Iterator[list[str]]:
        for name, each in found.items():
            for size in LATENCY_SIZES:
                chosen = ships(each, size)
                _, low, _ = ratio(each, size, "int8")
                slower = "no" if chosen == "FP32" or low <= 1 else "yes"
                other = recommended(each)
                against = ratio(each, size, "int8", other)
                points = 100 * (row(each, "int8")["top1"] - row(each, other)["top1"])
                yield [
                    f"`{name}`, {size} px",
                    chosen,
                    slower,
                    _interval(*against),
                    _signed(points),
                    behind(each, size),
                ]

    columns = [
        "Family",
        "Ships",
        "Slower than FP32",
        "Our time / quantize_static's",
        "Our points − quantize_static's",
        "Behind in both",
    ]
    return (
        "## What ships, compared with quantize_static\n\n"
        f"The engine that the gate ships if at most {ALLOWED_POINTS:g} point may be lost; whether "
        "it is slower than the FP32 engine beyond the interval; and whether our INT8 engine is "
        "behind `quantize_static` in both speed and accuracy: *yes* if both differences are "
        "significant, *not shown* if only the medians and means say so.\n\n"
    ) + race_table.table(columns, rows())


def _ratio(result: Result, size: int, name: str) -> str:
    return _interval(*ratio(result, size, name))


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def _change(found: Result) -> str:
    low, high = found["change_interval"]
    return f"{_signed(found['change_points'])} ({_signed(low)} to {_signed(high)})"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−").replace("+0.0", "0.0").replace("−0.0", "0.0")
