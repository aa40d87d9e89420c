"""When an engine has warmed up, and the turns, with engines whose times are known."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmkd_deploy.agent.inference import timing
from tmkd_deploy.agent.inference.timing import ROUNDS, Settings, time_interleaved, warm_up
from tmkd_deploy.agent.inference.warmup import BLOCKS, changepoint, is_warmed_up
from tmkd_deploy.agent.telemetry.system_monitor import SystemMonitor

IMAGES = np.zeros((2, 4, 4, 3), np.uint8)


def blocks_until_steady(medians):
    """How many blocks it takes; None if all of them are too few."""
    counts = range(1, len(medians) + 1)
    return next((count for count in counts if is_warmed_up(medians[:count])), None)


def noise(seed, count, share=0.01):
    return np.exp(np.random.default_rng(seed).normal(0, share, count))


@given(seed=st.integers(0, 10**6), level=st.floats(1e-3, 1e3), share=st.floats(0, 0.1))
@settings(max_examples=60, deadline=None)
def test_steady_noise_ends_soon_after_the_least_blocks(seed, level, share):
    needed = blocks_until_steady(level * noise(seed, 120, share))
    assert needed is not None and BLOCKS <= needed <= 3 * BLOCKS


def test_steady_noise_mostly_ends_with_the_least_blocks():
    needed = [blocks_until_steady(noise(seed, 120)) for seed in range(200)]
    assert np.mean([count == BLOCKS for count in needed]) > 0.85


@given(
    seed=st.integers(0, 10**6),
    at=st.integers(1, 30),
    factor=st.floats(1.1, 5.0) | st.floats(0.2, 0.9),
)
@settings(max_examples=40, deadline=None)
def test_a_step_delays_until_it_lies_before_the_half_looked_at(seed, at, factor):
    medians = noise(seed, 2 * at + 3 * BLOCKS)
    medians[:at] *= factor
    ended = [count for count in range(at + 3, len(medians) + 1) if is_warmed_up(medians[:count])]
    # 20 blocks, or the second half, must follow the step, give or take the margin
    assert max(at + BLOCKS, 2 * at) - 3 <= ended[0] <= 2 * at + 3 * BLOCKS


@pytest.mark.parametrize("slowest", [1.3, 2.0, 10.0])
def test_a_slow_ramp_delays(slowest):
    """Times fall evenly over 100 blocks and are level afterwards."""
    ramp = np.concatenate([np.linspace(slowest, 1.0, 100), np.ones(400)])
    needed = blocks_until_steady(ramp * noise(3, 500, 0.005))
    assert needed is not None and 110 <= needed <= 260


@pytest.mark.parametrize("seed", range(5))
def test_times_that_keep_changing_never_warm_up(seed):
    growing = np.exp(0.02 * np.arange(300)) * noise(seed, 300)
    assert blocks_until_steady(growing) is None


def test_a_change_of_less_than_a_hundredth_is_none():
    levels = np.log(np.repeat([1.0, 1.008], 20))
    assert changepoint(levels) is None
    assert changepoint(np.log(np.repeat([1.0, 1.02], 20))) == 20


def test_a_few_wild_blocks_hide_no_step():
    levels = np.log(np.repeat([2.0, 1.0], 30) * noise(0, 60))
    levels[[7, 41]] += 3.0
    assert changepoint(levels) == 30


class Engine:
    """Takes as long as `milliseconds` returns for a run, and counts runs."""

    def __init__(self, milliseconds):
        self.milliseconds, self.runs = milliseconds, 0

    def infer(self, images):
        time.sleep(self.milliseconds(self.runs) / 1000)
        self.runs += 1
        return np.zeros((1, 2), np.float32)


class Accelerator(Engine):
    """So fast that other processes seldom interrupt a run; it times its device separately."""

    def infer(self, images):
        end = time.perf_counter() + self.milliseconds(self.runs) / 1000
        self.runs += 1
        while time.perf_counter() < end:
            pass
        return np.zeros((1, 2), np.float32)

    graph_problem = "The engine is not permitted in a capture."

    def device_ms(self):
        return float(self.runs)

    def enqueue_ms(self):
        return self.runs / 1000


class Listener:
    def __init__(self):
        self.said, self.done = [], []

    def say(self, text):
        self.said.append(text)

    def progress(self, done, total, unit):
        self.done.append((done, total))


class Clock:
    """Stands in for the clock, and for an engine whose runs take exactly `milliseconds`.

    On a busy machine real runs take what the neighbours let them, and a ramp is none any more.
    """

    def __init__(self, milliseconds):
        self.milliseconds, self.runs, self.seconds = milliseconds, 0, 0.0

    def infer(self, images):
        self.seconds += self.milliseconds(self.runs) / 1000
        self.runs += 1
        return np.zeros((1, 2), np.float32)

    def perf_counter(self):
        return self.seconds

    def perf_counter_ns(self):
        return round(1e9 * self.seconds)


def warmed_up(monkeypatch, milliseconds, least_seconds):
    engine = Clock(milliseconds)
    monkeypatch.setattr(timing, "time", engine)
    return warm_up(engine, [IMAGES[:1]], least_seconds), engine


def test_warming_up_takes_the_minimum_if_times_are_level(monkeypatch):
    found, engine = warmed_up(monkeypatch, lambda run: 0.2, 0.2)
    assert found["warmed_up"]
    assert 0.2 <= found["seconds"] <= 0.22
    assert found["runs"] == engine.runs >= 60
    assert found["last_ms"] == pytest.approx(0.2)


def test_warming_up_goes_on_until_a_step_is_behind(monkeypatch):
    found, _ = warmed_up(monkeypatch, lambda run: 0.4 if run < 500 else 0.2, 0.2)
    assert found["warmed_up"]
    # the step comes after 0.2 s and as long must follow it, give or take the margin
    assert 0.35 <= found["seconds"] <= 0.6
    assert found["last_ms"] == pytest.approx(0.2)


def test_warming_up_ends_at_the_limit_if_times_never_level_off(monkeypatch):
    """Each run takes 3 % longer than the one before."""
    found, engine = warmed_up(monkeypatch, lambda run: 0.02 * 1.03**run, 0.05)
    assert not found["warmed_up"]
    assert found["seconds"] >= 0.5
    assert found["runs"] == engine.runs


def test_an_engine_that_has_not_warmed_up_is_timed_and_reported(monkeypatch):
    engine, listener = Clock(lambda run: 0.02 * 1.03 ** min(run, 250)), Listener()
    monitor = SystemMonitor()
    monkeypatch.setattr(timing, "time", engine)
    found = time_interleaved({"odd": engine}, IMAGES, Settings(0.05, 20, 0.01), listener, monitor)
    assert "odd has not warmed up" in listener.said[0]
    assert len(found["blocks"]["odd"]) >= ROUNDS // 2


@pytest.fixture(scope="module")
def timed():
    engines = {
        "slow": Engine(lambda run: 5.0),
        "quick": Accelerator(lambda run: 0.05),
    }
    listener = Listener()
    return time_interleaved(
        engines, IMAGES, Settings(0.05, 100, 0.3), listener, SystemMonitor()
    ), listener


def test_a_slow_engine_does_not_prolong_the_turns_of_a_quick_one(timed):
    """Both get the minimum runs and seconds in the same rounds, with turns of different lengths."""
    found, listener = timed
    for name, milliseconds in (("slow", 5.0), ("quick", 0.05)):
        blocks = np.array(found["blocks"][name])
        assert len(blocks) >= ROUNDS // 2
        assert blocks.size >= 100 and blocks.sum() >= 300
        assert blocks.min() >= milliseconds  # late on a busy machine, never early
    slow, quick = (len(found["blocks"][name][0]) for name in ("slow", "quick"))
    assert slow == 5 and quick > 10
    assert len(found["blocks"]["slow"]) == len(found["blocks"]["quick"])
    assert listener.done[-1] == (ROUNDS, ROUNDS)
    assert listener.done == sorted(listener.done)


def test_device_times_are_those_of_the_counted_runs(timed):
    found, _ = timed
    assert set(found["device_ms"]) == {"quick"}
    assert len(found["device_ms"]["quick"]) == np.array(found["blocks"]["quick"]).size
    assert found["enqueue_ms"]["quick"] == [ms / 1000 for ms in found["device_ms"]["quick"]]
    gaps = np.diff(found["device_ms"]["quick"])
    # consecutive within a turn, with the uncounted ones missing between two turns
    turns = gaps[gaps != 1.0]
    assert len(turns) == len(found["blocks"]["quick"]) - 1
    assert sorted(turns)[:-1] == [3.0] * (len(turns) - 1)
    # all throughput runs lie between the two middle turns
    assert max(turns) == 3.0 + 2.0 + found["throughput"]["quick"]["runs"]


def test_an_engine_without_a_cuda_graph_is_named_once(timed):
    found, listener = timed
    assert found["graph_problem"] == {"quick": Accelerator.graph_problem}
    (told,) = (line for line in listener.said if "CUDA graph" in line)
    assert (
        told == f"quick runs without a CUDA graph, which takes longer. {Accelerator.graph_problem}"
    )


def test_energy_is_that_of_the_throughputs_seconds(tmp_path):
    monitor = tmp_path / "sys/class/hwmon/hwmon1"
    monitor.mkdir(parents=True)
    for name, text in (
        ("name", "ina3221"),
        ("in1_label", "VDD_IN"),
        ("in1_input", "5000"),
        ("curr1_input", "2000"),
    ):
        (monitor / name).write_text(text + "\n")
    engines = {"one": Engine(lambda run: 1.0)}
    found = time_interleaved(
        engines, IMAGES, Settings(0.05, 20, 0.1), Listener(), SystemMonitor(Path(tmp_path))
    )
    throughput = found["throughput"]["one"]
    energy = throughput["energy"]
    assert energy["joules"] == pytest.approx(10.0 * throughput["seconds"])
    per_image = 1000 * energy["joules"] / throughput["runs"]
    assert energy["millijoules_per_inference"] == pytest.approx(per_image)
    assert energy["source"] == "the module's input VDD_IN (INA3221)"
