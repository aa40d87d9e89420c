"""The latency protocol on sessions that take a known time.

A `Sleeper` stands in for an engine here, because only then is the right answer known.
"""

import time

import numpy as np
import pytest

from tmkd_deploy.events import SilentEvents
from tmkd_deploy.measure.latency import machine, measure_latency
from tmkd_deploy.recipe.schema import Measure

SETTINGS = Measure(threads=1, warm_up_seconds=0.01, minimum_runs=50, minimum_seconds=0.01)
IMAGES = np.arange(3, dtype=np.uint8).repeat(4 * 4 * 3).reshape(3, 4, 4, 3)


class Sleeper:
    """Takes `seconds` for an image and writes down that it was asked, and for what."""

    def __init__(self, name, seconds, asked):
        self.name, self.seconds, self.asked = name, seconds, asked

    def infer(self, images):
        assert images.shape == (1, 4, 4, 3) and images.flags.c_contiguous
        self.asked.append((self.name, int(images[0, 0, 0, 0])))
        time.sleep(self.seconds)
        return np.zeros((1, 2), np.float32)


def timed(settings=SETTINGS, seed=0, **seconds):
    asked = []
    engines = {
        name: (f"the {name}", Sleeper(name, length, asked)) for name, length in seconds.items()
    }
    return measure_latency(engines, IMAGES, settings, seed, SilentEvents()), asked


@pytest.fixture(scope="module")
def measured():
    return timed(teacher=0.008, int8=0.002, fp32=0.004)


def test_medians_and_ratios_are_those_that_are_true(measured):
    latency, _ = measured
    rows = {row.engine: row for row in latency.rows}
    for name, milliseconds in (("teacher", 8.0), ("int8", 2.0), ("fp32", 4.0)):
        # a busy machine wakes a sleeper late, never early
        assert milliseconds <= rows[name].p50_ms <= 1.4 * milliseconds
        assert rows[name].p50_ms <= rows[name].p90_ms <= rows[name].p99_ms
        low, high = rows[name].p50_interval_ms
        assert low <= rows[name].p50_ms <= high
        assert rows[name].label == f"the {name}"
    ratios = {(ratio.numerator, ratio.denominator): ratio for ratio in latency.ratios}
    assert set(ratios) == {("teacher", "fp32"), ("teacher", "int8"), ("fp32", "int8")}
    for pair, truth in zip(sorted(ratios), (2.0, 2.0, 4.0), strict=True):
        low, high = ratios[pair].interval
        assert low <= ratios[pair].ratio <= high
        # waking up costs every engine the same beside its sleep, which tells in the ratio
        assert 0.85 * truth <= high and low <= 1.05 * truth


def test_every_engine_runs_at_least_as_often_as_asked(measured):
    latency, _ = measured
    runs = {row.runs for row in latency.rows}
    assert len(runs) == 1 and runs.pop() >= SETTINGS.minimum_runs
    for row in latency.rows:
        # beside the few slowest, every run is in the histogram
        assert 0.98 * row.runs <= sum(row.histogram_counts) <= row.runs
        assert len(row.histogram_edges_ms) == len(row.histogram_counts) + 1


def test_a_fast_engine_runs_until_its_least_time_is_over():
    settings = SETTINGS.model_copy(update={"minimum_runs": 20, "minimum_seconds": 0.06})
    latency, _ = timed(settings, teacher=0.0005, fp32=0.0002)
    assert all(row.runs * row.mean_ms >= 60 for row in latency.rows)


def test_engines_take_turns_within_one_run(measured):
    latency, asked = measured
    order = ["teacher", "int8", "fp32"]
    turns = latency.protocol["rounds"]
    length = latency.protocol["runs_a_turn"] + latency.protocol["uncounted_runs_a_turn"]
    timed_part = [name for name, _ in asked][-turns * length * 3 :]
    expected = [name for _ in range(turns) for name in order for _ in range(length)]
    assert timed_part == expected


def test_every_engine_sees_the_same_images_in_the_same_order(measured):
    latency, asked = measured
    turns = latency.protocol["rounds"]
    length = latency.protocol["runs_a_turn"] + latency.protocol["uncounted_runs_a_turn"]
    timed_part = asked[-turns * length * 3 :]
    seen = {
        name: [image for other, image in timed_part if other == name]
        for name in ("teacher", "int8", "fp32")
    }
    assert seen["teacher"] == seen["int8"] == seen["fp32"]
    assert seen["fp32"] == [run % 3 for run in range(len(seen["fp32"]))]


def test_every_engine_is_warmed_up_before_the_first_is_timed(measured):
    latency, asked = measured
    turns = latency.protocol["rounds"]
    length = latency.protocol["runs_a_turn"] + latency.protocol["uncounted_runs_a_turn"]
    warm_up = [name for name, _ in asked][: -turns * length * 3]
    assert {name: warm_up.count(name) >= 20 for name in ("teacher", "int8", "fp32")} == {
        "teacher": True,
        "int8": True,
        "fp32": True,
    }


def test_the_machine_is_told(measured):
    latency, _ = measured
    assert latency.machine == machine()
    assert latency.machine["cores"] >= 1
    assert latency.protocol["batch"] == 1 and latency.protocol["threads"] == 1
    assert any("clocks are not locked" in warning for warning in latency.warnings)
