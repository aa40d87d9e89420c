"""The demo's seeds: figures read from a summary, and what the table makes of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import demo_seeds
from benchmarks.demo_seeds import figures, fingerprint, page, table

REPOSITORY = Path(__file__).parents[3]
RESULTS = REPOSITORY / "benchmarks" / "results"


def result(seed: int, distilled: float, **more: object) -> dict[str, object]:
    """One seed's figures."""
    return {
        "seed": seed,
        "gate": "passed",
        "top1": {
            "teacher": 0.85,
            "baseline": 0.80,
            "distilled": distilled,
            "fake_quantized": distilled,
            "int8_engine": distilled - 0.001,
        },
        "test_images": 1000,
        "shipped": "int8",
        "int8_speedup_over_fp32": 1.5 + seed / 10,
        "int8_speedup_interval": [1.4, 1.9],
        "processor_seconds": 600.0,
        **more,
    }


def rows(text: str) -> dict[str, list[str]]:
    """The table's cells by the title of their row."""
    lines = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines()]
    return {cells[0]: cells[1:] for cells in lines}


def test_medians_and_ranges_are_over_the_seeds() -> None:
    found = rows(table([result(0, 0.81), result(1, 0.83), result(2, 0.84)]))
    assert found["Distilled student, %"] == ["81.0", "83.0", "84.0", "83.0", "81.0 to 84.0"]
    assert found["INT8 speed-up over FP32"][-2:] == ["1.60", "1.50 to 1.70"]
    assert found["Processor minutes"][-2:] == ["10.0", "10.0 to 10.0"]


def test_differences_are_paired_by_seed() -> None:
    first = result(0, 0.81)
    second = result(1, 0.84)
    second["top1"] = {**second["top1"], "baseline": 0.82}  # type: ignore[dict-item]
    found = rows(table([first, second]))
    assert found["Distilled − baseline, points"] == ["+1.0", "+2.0", "+1.5", "+1.0 to +2.0"]
    assert found["Teacher − baseline, points"][:2] == ["+5.0", "+3.0"]


def test_a_difference_of_nothing_has_no_sign() -> None:
    same = result(0, 0.81)
    same["top1"] = {**same["top1"], "int8_engine": 0.80999}  # type: ignore[dict-item]
    assert rows(table([same]))["INT8 engine − distilled, points"][0] == "0.0"


def test_gates_and_shipped_engines_are_counted() -> None:
    found = rows(table([result(0, 0.81), result(1, 0.83, gate="failed", shipped=None)]))
    assert found["Gate"][:3] == ["passed", "failed", "1 of 2 passed"]
    assert found["Shipped"][:3] == ["int8", "none", "1 of 2 int8"]


def summary(ratio: dict[str, object], shipped: dict[str, str] | None) -> dict[str, object]:
    """The part of a run's summary.json that the figures come from."""
    rows = {
        ("teacher", "fp32"): 0.85,
        ("student_baseline", "fp32"): 0.79,
        ("student", "fp32"): 0.82,
        ("fake_quantized", "int8"): 0.83,
        ("onnx", "int8"): 0.84,
        ("engine", "int8"): 0.81,
        ("engine", "fp32"): 0.86,
    }
    ledger = [
        {"representation": name, "precision": precision, "top1": top1}
        for (name, precision), top1 in rows.items()
    ]
    other = {"numerator": "teacher", "denominator": "int8", "ratio": 5.0, "interval": [4.0, 6.0]}
    target = {
        "ledger": ledger,
        "latency": {"ratios": [other, ratio]},
        "test_images": 100,
        "shipped": shipped,
        "engines": [{"precision": "int8", "bytes": 10}, {"precision": "fp32", "bytes": 40}],
        "verdict": {"checks": [{"budget": "speedup_over_teacher", "outcome": "passed"}]},
    }
    return {"targets": {"cpu": target}}


def test_figures_come_from_the_summary() -> None:
    ratio = {"numerator": "fp32", "denominator": "int8", "ratio": 1.9, "interval": [1.4, 2.5]}
    assert figures(summary(ratio, {"engine": "int8"})) == {
        "top1": {
            "teacher": 0.85,
            "baseline": 0.79,
            "distilled": 0.82,
            "fake_quantized": 0.83,
            "int8_engine": 0.81,
        },
        "test_images": 100,
        "shipped": "int8",
        "int8_speedup_over_fp32": 1.9,
        "int8_speedup_interval": [1.4, 2.5],
        "engine_bytes": {"int8": 10, "fp32": 40},
        "checks": {"speedup_over_teacher": "passed"},
    }


def test_a_slower_int8_engine_has_a_speed_up_below_one() -> None:
    ratio = {"numerator": "int8", "denominator": "fp32", "ratio": 1.25, "interval": [1.0, 2.0]}
    found = figures(summary(ratio, None))
    assert found["int8_speedup_over_fp32"] == pytest.approx(0.8)
    assert found["int8_speedup_interval"] == pytest.approx([0.5, 1.0])
    assert found["shipped"] is None


def test_the_committed_page_shows_the_committed_results() -> None:
    kept = json.loads((RESULTS / "demo_seeds.json").read_text(encoding="utf-8"))
    assert len(kept["seeds"]) >= 5
    assert (RESULTS / "demo_seeds.md").read_text(encoding="utf-8") == page(kept)


def test_the_committed_results_belong_to_the_present_recipe() -> None:
    """Otherwise the command would run every seed again."""
    kept = json.loads((RESULTS / "demo_seeds.json").read_text(encoding="utf-8"))
    recipe = REPOSITORY / "recipes" / kept["recipe"]
    assert fingerprint(recipe, kept["overrides"]) == kept["recipe_sha256"]


def test_another_recipe_or_override_has_another_fingerprint(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: one\n", encoding="utf-8")
    first = fingerprint(recipe, [])
    assert fingerprint(recipe, []) == first
    assert fingerprint(recipe, ["threads=1"]) != first
    recipe.write_text("# a comment\nname: one\n", encoding="utf-8")
    assert fingerprint(recipe, []) == first
    recipe.write_text("name: two\n", encoding="utf-8")
    assert fingerprint(recipe, []) != first


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[int]]:
    """A recipe, and the seeds that were run instead of the chain."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: one\n", encoding="utf-8")
    seeds: list[int] = []

    def run(_recipe: Path, seed: int, _overrides: list[str], _runs: Path) -> dict[str, object]:
        seeds.append(seed)
        return result(seed, 0.83)

    monkeypatch.setattr(demo_seeds, "run", run)
    return recipe, seeds


def _main(monkeypatch: pytest.MonkeyPatch, recipe: Path, *more: str) -> None:
    results = ["--results", str(recipe.parent)]
    monkeypatch.setattr(sys, "argv", ["demo_seeds", "--recipe", str(recipe), *results, *more])
    demo_seeds.main()


def test_it_resumes_and_starts_over_with_another_recipe(
    started: tuple[Path, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, seeds = started
    _main(monkeypatch, recipe, "--seeds", "0")
    _main(monkeypatch, recipe, "--seeds", "0", "1")
    assert seeds == [0, 1]
    kept = json.loads((recipe.parent / "demo_seeds.json").read_text(encoding="utf-8"))
    assert [each["seed"] for each in kept["seeds"]] == [0, 1]
    assert {"command", "commit", "machine", "recipe_sha256"} <= set(kept)
    recipe.write_text("name: two\n", encoding="utf-8")
    _main(monkeypatch, recipe, "--seeds", "1")
    assert seeds == [0, 1, 1]
    kept = json.loads((recipe.parent / "demo_seeds.json").read_text(encoding="utf-8"))
    assert [each["seed"] for each in kept["seeds"]] == [1]


def test_a_run_without_a_verdict_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 5)

    monkeypatch.setattr(demo_seeds.subprocess, "run", broken)
    with pytest.raises(RuntimeError, match=r"Seed 3: .* exit code 5"):
        demo_seeds.run(tmp_path / "recipe.yaml", 3, [], tmp_path / "runs")
