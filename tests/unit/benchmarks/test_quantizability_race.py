"""The race of the quantizability benchmark: its verdicts, and that it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnxruntime")
pytest.importorskip("pyarrow")

from benchmarks.quantizability import race_table

POINTS = {"fp32": 0.90, "int8": 0.899, "quantize_static": 0.898, "nncf": 0.90}
TIMES = {"fp32": 2.0, "int8": 1.0, "quantize_static": 1.1, "nncf": 1.05}


def accuracy(p_value: float = 0.5, **top1: float) -> dict[str, Any]:
    found = {**POINTS, **top1}
    names = list(found)
    pairs = [(one, other) for at, one in enumerate(names) for other in names[at + 1 :]]
    return {"top1": found, "p_values": {f"{one} / {other}": p_value for one, other in pairs}}


def timed(**milliseconds: float) -> dict[str, Any]:
    found = {**TIMES, **milliseconds}
    names = list(found)
    ratios = {
        f"{one} / {other}": {
            "ratio": (middle := found[one] / found[other]),
            "interval": [0.98 * middle, 1.02 * middle],
        }
        for at, one in enumerate(names)
        for other in names[at + 1 :]
    }
    return {"milliseconds": found, "ratios": ratios}


def test_the_fastest_of_ours_ships_if_it_is_accurate() -> None:
    assert race_table.ships(timed(), accuracy()) == "int8"
    assert race_table.ships(timed(int8=2.5), accuracy()) == "fp32"
    assert race_table.ships(timed(), accuracy(int8=0.88)) == "fp32"


def test_the_goal_is_missed_by_a_slower_or_a_less_accurate_engine() -> None:
    assert race_table.verdict(timed(), accuracy()) == "yes"
    assert race_table.verdict(timed(nncf=0.8), accuracy()) == "slower"
    # within the interval
    assert race_table.verdict(timed(nncf=0.99), accuracy()) == "yes"
    assert race_table.verdict(timed(), accuracy(p_value=0.01)) == "less accurate"


def test_a_faster_tool_that_loses_accuracy_is_no_rival() -> None:
    quick_and_wrong = timed(nncf=0.5), accuracy(p_value=0.01, nncf=0.7, quantize_static=0.899)
    assert race_table.rival(*quick_and_wrong, "int8") == "quantize_static"
    assert race_table.verdict(*quick_and_wrong) == "yes"


def test_the_tables_show_each_line_and_the_geometric_mean() -> None:
    race = {"latency": {"96": {"1": timed(), "2": timed(nncf=0.8)}}, "accuracy": accuracy()}
    text = race_table.render({"resnet18": {"race": race}})
    assert "| `resnet18` | 96 | 1 | 2.00 | 0.50 |" in text
    assert text.count("| yes |") == 1 and text.count("| slower |") == 1
    # 1 / 1.05 and 1 / 0.8
    assert "over" not in race_table.render({}) and "takes 1.09 of its rival's time" in text


@pytest.mark.slow
def test_every_contender_is_timed_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nncf")
    from benchmarks.evidence.sets import DataSet, Part
    from benchmarks.quantizability import accuracy as of_accuracy
    from benchmarks.quantizability import race, train
    from benchmarks.quantizability.families import PLAN, Paths
    from tmkd_deploy.agent.telemetry import cpu
    from tmkd_deploy.models.classifier import create, merge_branches

    random = np.random.default_rng(0)
    images = random.integers(0, 256, (16, PLAN.size, PLAN.size, 3), dtype=np.uint8)
    part = Part(images, np.arange(16) % 4)
    found = DataSet([*"abcd"], part, part, part)

    def network(paths: Paths, family: str, seed: int, size: int = PLAN.size) -> Any:
        return merge_branches(
            create("mobilenetv4_conv_small_050", 4, {}, size, scratch=True)[0]
        ).eval()

    for module in (race, train, of_accuracy):
        monkeypatch.setattr(module, "data", lambda: found)
    monkeypatch.setattr(race, "student", network)
    monkeypatch.setattr(race, "calibration_images", lambda: images)
    monkeypatch.setattr(
        race, "quantized", lambda *given: race.quantized_now(network(*given), images, train.GRID)
    )
    monkeypatch.setattr(race, "LATENCY_SIZES", (PLAN.size,))
    monkeypatch.setattr(race, "MIN_RUNS", 20)
    monkeypatch.setattr(race, "MIN_SECONDS", 0.01)
    result = race.race(Paths(tmp_path, tmp_path), "small", 0)
    names = set(race_table.CONTENDERS)
    if not cpu.arithmetic_support()["bf16"]:
        names.remove("bf16-openvino")
    for line in result["latency"][str(PLAN.size)].values():
        assert set(line["milliseconds"]) == names
    assert set(result["accuracy"]["top1"]) == names
    assert race_table.render({"small": {"race": result}}).count("`small`") >= 2
