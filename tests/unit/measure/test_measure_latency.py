"""The latency protocol on sessions that take a known time.

A `Sleeper` stands in for an engine here, because only then is the right answer known.
"""

import json
import time
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmkd_deploy.errors import DataError
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.measure.latency import latency_from, machine, measure_latency
from tmkd_deploy.recipe.schema import Measure
from tmkd_deploy.records.latency import Latency

SETTINGS = Measure(threads=1, warmup_seconds=0.01, min_runs=50, min_seconds=0.01)
IMAGES = np.arange(3, dtype=np.uint8).repeat(4 * 4 * 3).reshape(3, 4, 4, 3)


class Sleeper:
    """Sleeps `seconds` for an image and writes down its name, the image and what it really took."""

    def __init__(self, name, seconds, asked):
        self.name, self.seconds, self.asked = name, seconds, asked

    def infer(self, images):
        assert images.shape == (1, 4, 4, 3) and images.flags.c_contiguous
        begun = time.perf_counter()
        time.sleep(self.seconds)
        took_ms = 1000 * (time.perf_counter() - begun)
        self.asked.append((self.name, int(images[0, 0, 0, 0]), took_ms))
        return np.zeros((1, 2), np.float32)


def timed(settings=SETTINGS, seed=0, **seconds):
    asked = []
    engines = {
        name: (f"the {name}", Sleeper(name, length, asked)) for name, length in seconds.items()
    }
    return measure_latency(engines, IMAGES, settings, seed, SilentEvents()), asked


def phases(latency, asked):
    """The runs of each stretch: the warm-ups, the turns, and the throughputs amid these."""
    stretches = [list(runs) for _, runs in groupby(asked, lambda run: run[0])]
    rounds = latency.protocol["rounds"]
    assert len(stretches) == 3 * (rounds + 2)
    warm_ups, turns = stretches[:3], stretches[3:]
    # sleepers are never early, so half of the rounds are half of everything that is asked for
    middle = 3 * rounds // 2
    return warm_ups, turns[:middle] + turns[middle + 3 :], turns[middle : middle + 3]


@pytest.fixture(scope="module")
def measured():
    return timed(teacher=0.008, int8=0.002, fp32=0.004)


def test_medians_and_ratios_are_those_that_are_true(measured):
    latency, asked = measured
    rows = {row.engine: row for row in latency.rows}
    uncounted = latency.protocol["uncounted_runs_a_turn"]
    true_ms = {
        name: np.median(
            [
                run[2]
                for turn in phases(latency, asked)[1]
                if turn[0][0] == name
                for run in turn[uncounted:]
            ]
        )
        for name in rows
    }
    for name, milliseconds in (("teacher", 8.0), ("int8", 2.0), ("fp32", 4.0)):
        assert milliseconds <= true_ms[name] == pytest.approx(rows[name].p50_ms, rel=0.05)
        assert rows[name].p50_ms <= rows[name].p90_ms <= rows[name].p99_ms
        low, high = rows[name].p50_interval_ms
        assert low <= rows[name].p50_ms <= high
        assert rows[name].label == f"the {name}"
    ratios = {(ratio.numerator, ratio.denominator): ratio for ratio in latency.ratios}
    assert set(ratios) == {("teacher", "fp32"), ("teacher", "int8"), ("fp32", "int8")}
    for (above, below), ratio in ratios.items():
        low, high = ratio.interval
        assert low <= ratio.ratio <= high
        assert ratio.ratio == pytest.approx(true_ms[above] / true_ms[below], rel=0.1)


def test_every_engine_runs_at_least_as_often_as_asked(measured):
    latency, _ = measured
    runs = {row.runs for row in latency.rows}
    assert len(runs) == 1 and runs.pop() >= SETTINGS.min_runs
    for row in latency.rows:
        # beside the few slowest, every run is in the histogram
        assert 0.98 * row.runs <= sum(row.histogram_counts) <= row.runs
        assert len(row.histogram_edges_ms) == len(row.histogram_counts) + 1


def test_a_fast_engine_runs_until_its_least_time_is_over():
    settings = SETTINGS.model_copy(update={"min_runs": 20, "min_seconds": 0.06})
    latency, _ = timed(settings, teacher=0.0005, fp32=0.0002)
    assert all(row.runs * row.mean_ms >= 60 for row in latency.rows)


def test_engines_take_turns_within_one_run(measured):
    latency, asked = measured
    warm_ups, turns, throughputs = phases(latency, asked)
    order = ["teacher", "int8", "fp32"]
    for phase in (warm_ups, throughputs):
        assert [runs[0][0] for runs in phase] == order
    assert [runs[0][0] for runs in turns] == latency.protocol["rounds"] * order
    counted = {row.engine: row.runs // latency.protocol["rounds"] for row in latency.rows}
    for runs in turns:
        assert len(runs) == counted[runs[0][0]] + latency.protocol["uncounted_runs_a_turn"]


def test_every_engine_sees_the_same_images_in_the_same_order(measured):
    _, turns, _ = phases(*measured)
    seen = {
        name: [image for runs in turns for other, image, _ in runs if other == name]
        for name in ("teacher", "int8", "fp32")
    }
    assert seen["teacher"] == seen["int8"] == seen["fp32"]
    assert seen["fp32"] == [run % 3 for run in range(len(seen["fp32"]))]


def test_every_engine_is_warmed_up_before_the_first_is_timed(measured):
    latency, asked = measured
    warm_ups, _, _ = phases(latency, asked)
    for row, runs in zip(latency.rows, warm_ups, strict=True):
        assert row.engine == runs[0][0]
        assert row.warmup.runs == len(runs) >= 60
        assert row.warmup.seconds >= SETTINGS.warmup_seconds


def test_throughput_is_that_of_back_to_back_runs(measured):
    latency, asked = measured
    _, _, throughputs = phases(latency, asked)
    for row, runs in zip(latency.rows, throughputs, strict=True):
        assert row.throughput.runs == len(runs) - latency.protocol["uncounted_runs_a_turn"]
        assert row.throughput.seconds >= SETTINGS.min_seconds
        assert row.throughput.images_per_second == row.throughput.runs / row.throughput.seconds
        took_ms = sum(run[2] for run in runs[-row.throughput.runs :])
        assert took_ms <= 1000 * row.throughput.seconds


def test_the_machine_is_told(measured):
    latency, _ = measured
    assert {**latency.machine, "clocks": None} == {**machine(), "clocks": None}
    assert latency.machine["cores"] >= 1
    assert latency.protocol["batch"] == 1 and latency.protocol["threads"] == 1
    assert latency.conditions.samples >= 2
    locked = latency.conditions.before.clocks.locked
    unlocked = ("Clock-lock status is unknown", "The clocks are not locked")
    assert locked or any(warning.startswith(unlocked) for warning in latency.warnings)


# ---- from raw blocks, as a device sends them home ----

READING = {
    "clocks": {"locked": True, "governor": "schedutil", "cpu_hz": 1728000000, "gpu_hz": 1020000000},
    "temperature_c": {"gpu-thermal": 50.0},
    "throttle_counts": {"oc3": 27390},
    "throttling": [],
    "load": 0.4,
}
RNG = np.random.default_rng(5)
BLOCKS = {
    "teacher": RNG.gamma(60, 0.1, (40, 5)),
    "int8": RNG.gamma(60, 0.02, (40, 37)),
}


def from_device(edit=lambda timed: None, settings=SETTINGS, **changes):
    """Latency from a device's raw times, with other values for some, or as `edit` leaves them."""
    warm_up = {"seconds": 1.5, "runs": 700, "warmed_up": True, "last_ms": 1.2}
    throughput = {"images_per_second": 800.0, "runs": 2400, "seconds": 3.0}
    energy = {"joules": 30.0, "source": "the module's input VDD_IN (INA3221)"}
    energy["millijoules_per_inference"] = 12.5
    timed = {
        "blocks": {name: blocks.tolist() for name, blocks in BLOCKS.items()},
        "device_ms": {"int8": (0.5 * BLOCKS["int8"]).ravel().tolist()},
        "enqueue_ms": {"int8": (0.1 * BLOCKS["int8"]).ravel().tolist()},
        "graph_problem": {"int8": None},
        "warmup": {"teacher": warm_up, "int8": warm_up},
        "throughput": {
            "teacher": {**throughput, "energy": None},
            "int8": {**throughput, "energy": energy},
        },
        "conditions": {
            "before": READING,
            "after": READING,
            "power_mode": {"id": 2, "name": "MAXN_SUPER"},
            "samples": 20,
            "sample_ms": 3.0,
            "cpu_hz": [1728000000, 1728000000],
            "gpu_hz": [1020000000, 1020000000],
            "temperature_c": {"gpu-thermal": 52.5},
            "throttled": False,
            "throttle_events": {},
            **changes.pop("conditions", {}),
        },
        "machine": {"architecture": "aarch64", "cores": 6},
        **changes,
    }
    labels = {"teacher": "teacher, fp32", "int8": "student, int8 engine"}
    timed = json.loads(json.dumps(timed))
    edit(timed)
    return latency_from(timed, labels, settings, 3)


def test_figures_from_raw_blocks_are_numpys():
    latency = from_device()
    for row in latency.rows:
        blocks = BLOCKS[row.engine]
        assert row.runs == blocks.size
        assert [row.p50_ms, row.p90_ms, row.p99_ms] == list(np.percentile(blocks, [50, 90, 99]))
        assert row.mean_ms == blocks.mean()
    (ratio,) = latency.ratios
    assert (ratio.numerator, ratio.denominator) == ("teacher", "int8")
    assert ratio.ratio == np.median(BLOCKS["teacher"]) / np.median(BLOCKS["int8"])
    assert ratio.interval[0] < ratio.ratio < ratio.interval[1]


def test_what_only_a_device_tells_is_kept_and_the_rest_is_none():
    teacher, int8 = from_device().rows
    assert teacher.device is None and teacher.throughput.energy is None
    assert int8.device.p50_ms == np.percentile(0.5 * BLOCKS["int8"], 50)
    assert int8.device.enqueue_p50_ms == np.median(0.1 * BLOCKS["int8"])
    assert int8.device.cuda_graph is True
    assert int8.throughput.energy.millijoules_per_inference == 12.5
    latency = from_device()
    assert latency.machine == {"architecture": "aarch64", "cores": 6, "clocks": "locked"}
    assert latency.conditions.power_mode.name == "MAXN_SUPER"
    assert latency.warnings == []


def test_throttling_an_unsteady_engine_and_a_busy_machine_are_warned_of():
    latency = from_device(
        conditions={
            "throttled": True,
            "throttle_events": {"oc3": 41},
            "after": {**READING, "load": 9.5, "clocks": {**READING["clocks"], "locked": False}},
        },
        warmup={
            "teacher": {"seconds": 1.0, "runs": 60, "warmed_up": True, "last_ms": 6.0},
            "int8": {"seconds": 10.0, "runs": 600, "warmed_up": False, "last_ms": 1.0},
        },
    )
    clocks, throttled, unsteady, busy = latency.warnings
    assert "clocks are not locked" in clocks
    assert "oc3 41" in throttled
    assert "'student, int8 engine'" in unsteady and "10 seconds" in unsteady
    assert "9.5 on 6 cores" in busy


def test_unknown_clocks_are_not_called_unlocked():
    unknown = {**READING, "clocks": dict.fromkeys(READING["clocks"])}
    latency = from_device(conditions={"before": unknown, "after": unknown})
    assert latency.machine["clocks"] == "unknown"
    assert latency.warnings == ["Clock-lock status is unknown. Results of other runs may differ."]


def told(path, value):
    """The raw times of `from_device` with one figure replaced; `path` leads to it."""

    def change(timed):
        for step in path[:-1]:
            timed = timed[step]
        timed[path[-1]] = value

    return change


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0, "soon", None, 1e12])
@pytest.mark.parametrize(
    "path",
    [
        ("blocks", "int8", 3, 1),
        ("device_ms", "int8", 7),
        ("warmup", "teacher", "last_ms"),
        ("throughput", "int8", "images_per_second"),
        ("throughput", "int8", "energy", "joules"),
        ("conditions", "temperature_c", "gpu-thermal"),
        ("conditions", "after", "load"),
    ],
    ids=lambda path: ".".join(map(str, path)),
)
def test_a_figure_that_cannot_be_right_is_refused(path, value):
    may_be = {
        "joules": (0.0, 1e12),
        "gpu-thermal": (-1.0, 0.0, 1e12),
        "load": (0.0, 1e12, None),
        "last_ms": (1e12,),
        "images_per_second": (1e12,),
    }
    if value in may_be.get(path[-1], ()):
        from_device(edit=told(path, value))
        return
    with pytest.raises(DataError, match="The measured times cannot be right") as refused:
        from_device(edit=told(path, value))
    assert ".".join(map(str, path)) in refused.value.problem


def test_an_engine_without_a_cuda_graph_is_warned_of():
    latency = from_device(graph_problem={"int8": "No \x1b[31mcapture."})
    (warning,) = latency.warnings
    assert "'student, int8 engine' ran without a CUDA graph" in warning
    assert warning.endswith("No \\x1b[31mcapture.")
    assert latency.rows[1].device.cuda_graph is False


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda timed: timed["blocks"].pop("int8"), "blocks has entries for"),
        (lambda timed: timed["warmup"].update(other=timed["warmup"]["int8"]), "warmup has entries"),
        (lambda timed: timed["throughput"].clear(), "throughput has entries"),
        (lambda timed: timed["device_ms"].update(other=[1.0]), "device_ms has entries"),
        (lambda timed: timed["device_ms"]["int8"].pop(), "device_ms.int8: one time"),
        (lambda timed: timed["enqueue_ms"]["int8"].pop(), "enqueue_ms.int8: one time"),
        (lambda timed: timed["enqueue_ms"].update(other=[1.0]), "enqueue_ms has entries"),
        (lambda timed: timed["graph_problem"].update(other=None), "graph_problem has entries"),
        (lambda timed: timed["blocks"]["int8"].pop(), "same number of rounds"),
        (lambda timed: timed["blocks"].update(int8=[], teacher=[]), "same number of rounds"),
        (lambda timed: timed["blocks"]["int8"][0].pop(), "blocks.int8: every round"),
        (lambda timed: [block.clear() for block in timed["blocks"]["int8"]], "blocks.int8: every"),
        (lambda timed: timed["machine"].update(cores=0), "machine.cores"),
        (lambda timed: timed["machine"].pop("cores"), "machine.cores"),
        (lambda timed: timed.pop("conditions"), "conditions: Field required"),
        (lambda timed: timed.update(more=1), "more: Extra inputs"),
    ],
)
def test_times_that_are_incomplete_are_refused(edit, why):
    with pytest.raises(DataError, match="The measured times cannot be right") as refused:
        from_device(edit=edit)
    assert why in refused.value.problem


def test_fewer_runs_or_seconds_than_asked_for_are_refused():
    many = SETTINGS.model_copy(update={"min_runs": 1000})
    with pytest.raises(DataError, match=r"200 runs in .* at least 1000 in"):
        from_device(settings=many)
    long = SETTINGS.model_copy(update={"min_seconds": 60.0})
    with pytest.raises(DataError, match="in 60 s were asked for"):
        from_device(settings=long)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e4), st.sampled_from([0.0, 1e-9, 0.3, 3.0]))
def test_possible_times_make_a_record_that_can_be_read_back(seed, scale, spread):
    random = np.random.default_rng(seed)

    def edit(timed):
        for name in timed["blocks"]:
            drawn = np.clip(scale * np.exp(spread * random.normal(size=(20, 5))), 1e-6, 8e7)
            timed["blocks"][name] = drawn.tolist()
        timed["device_ms"] = timed["enqueue_ms"] = {}

    few = SETTINGS.model_copy(update={"min_runs": 20, "min_seconds": 1e-12})
    latency = from_device(edit=edit, settings=few)
    assert Latency.model_validate_json(latency.model_dump_json()) == latency
