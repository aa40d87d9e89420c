"""The quantizability benchmark: its page and warnings agree with its results, and it runs."""

import json
from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnxruntime")
pytest.importorskip("pyarrow")

from benchmarks.quantizability.families import FAMILIES, LATENCY_SIZES, PREFIXES
from benchmarks.quantizability.table import (
    BEGIN,
    END,
    WARNINGS,
    behind,
    read,
    render,
    render_warnings,
    ships,
)

REPOSITORY = Path(__file__).parents[3]
RESULTS = REPOSITORY / "benchmarks" / "results" / "quantizability"


def test_the_page_shows_the_results() -> None:
    page = (REPOSITORY / "docs" / "explanation" / "students.md").read_text(encoding="utf-8")
    shown = page.partition(BEGIN)[2].partition(END)[0].strip()
    assert shown == render(RESULTS).strip()


def test_the_warnings_are_those_of_the_results() -> None:
    assert WARNINGS.read_text(encoding="utf-8") == render_warnings(RESULTS)


def test_every_family_has_a_result_with_its_machine_and_command() -> None:
    found = read(RESULTS)
    assert set(found) == set(FAMILIES)
    for each in found.values():
        assert each["machine"]["processor"] and each["command"].startswith("python -m benchmarks.")
        # a network that guesses agrees with anything
        assert next(row for row in each["accuracy"] if row["row"] == "fp32")["top1"] > 0.5


def result(milliseconds: dict[str, float], points: dict[str, float], p_value: float = 0.01) -> dict:
    names = list(milliseconds)
    ratios = {
        f"{below} / {above}": {
            "ratio": (middle := milliseconds[below] / milliseconds[above]),
            "interval": [0.98 * middle, 1.02 * middle],
        }
        for index, above in enumerate(names)
        for below in names[index + 1 :]
    }
    timed = {"milliseconds": milliseconds, "ratios": ratios}
    rows = [
        {
            "row": name,
            "seed": 0,
            "top1": 0.9 + change / 100,
            "change_points": change,
            "p_value_against_int8": p_value,
        }
        for name, change in points.items()
    ]
    latency = {str(size): timed for size in LATENCY_SIZES}
    return {"machine": {"vnni": True}, "latency": latency, "accuracy": rows}


FAST = {"fp32": 2.0, "int8": 1.0, "quantize_static": 0.8}
SLOW = {"fp32": 2.1, "int8": 2.5, "quantize_static": 2.4}
SAME = {"fp32": 0.0, "int8": -0.2, "quantize_static": -0.2}


def test_int8_ships_where_it_is_faster_and_accurate() -> None:
    assert ships(result(FAST, SAME), 96) == "INT8"
    assert ships(result(SLOW, SAME), 96) == "FP32"
    assert ships(result(FAST, {**SAME, "int8": -1.5}), 96) == "FP32"


def test_behind_means_slower_and_less_accurate() -> None:
    assert behind(result(FAST, SAME), 96) == "no"
    worse = {**SAME, "int8": -0.9}
    assert behind(result(FAST, worse), 96) == "yes"
    assert behind(result(FAST, worse, p_value=0.5), 96) == "not shown"
    assert behind(result({**FAST, "int8": 0.7}, worse), 96) == "no"


def test_a_family_that_loses_is_warned_of_with_the_nearest_that_wins(tmp_path: Path) -> None:
    more = {"family": "", "layers": {}, "tensorrt_rtx": {}}
    larger = {name: 10 * each for name, each in FAST.items()}
    for family, figures in (
        ("resnet18", result(larger, SAME)),
        ("mobilenetv4_conv_small", result(FAST, SAME)),
        ("mobilenetv3_small_100", result(SLOW, SAME)),
    ):
        (tmp_path / f"{family}.json").write_text(json.dumps({**more, **figures}))
    [warned] = yaml.safe_load(render_warnings(tmp_path))
    assert warned["prefix"] == PREFIXES["mobilenetv3_small_100"]
    assert warned["instead"] == "mobilenetv4_conv_small"
    assert warned["times_as_long"] == {96: 1.19, 224: 1.19}
