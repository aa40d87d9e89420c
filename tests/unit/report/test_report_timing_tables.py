"""Throughput, energy and conditions in the report."""

from __future__ import annotations

import pytest
from report_fixture import (
    cpu_target,
    latency,
    latency_with_frames,
    run_report,
    with_measurements,
)

from tmkd_deploy.records.latency import (
    Clocks,
    Conditions,
    DeviceTime,
    Energy,
    PowerMode,
    Reading,
    Throughput,
    Warmup,
)
from tmkd_deploy.report import timing_tables
from tmkd_deploy.report.html import Html
from tmkd_deploy.report.markdown import Markdown

ENERGY = Energy(
    joules=30.0, source="the module's input VDD_IN (INA3221)", millijoules_per_inference=12.5
)
READING = Reading(
    clocks=Clocks(locked=False, governor="schedutil", cpu_hz=1_728_000_000, gpu_hz=1_020_000_000),
    temperature_c={"cpu-thermal": 49.0, "gpu-thermal": 51.6},
    throttle_counts={"oc3": 1},
    throttling=[],
    load=1.18,
)
CONDITIONS = Conditions(
    before=READING,
    after=READING,
    power_mode=PowerMode(id=2, name="MAXN_SUPER"),
    samples=20,
    sample_ms=2.0,
    cpu_hz=(1_728_000_000, 1_728_000_000),
    gpu_hz=(306_000_000, 1_020_000_000),
    temperature_c={"cpu-thermal": 60.0, "gpu-thermal": 70.1},
    throttled=True,
    throttle_events={"oc3": 41},
)


def measured_latency(energy=ENERGY):
    timed = latency()
    rows = [
        row.model_copy(
            update={
                "throughput": Throughput(
                    images_per_second=812.3, runs=2400, seconds=3.0, energy=energy
                ),
                "warmup": Warmup(
                    seconds=1.5, runs=900, warmed_up=row.engine != "int8", last_ms=1.2
                ),
                "device": DeviceTime(
                    mean_ms=0.9,
                    p50_ms=0.85,
                    p90_ms=1.0,
                    p99_ms=1.2,
                    enqueue_p50_ms=0.0213,
                    cuda_graph=True,
                )
                if row.engine == "int8"
                else None,
            }
        )
        for row in timed.rows
    ]
    return timed.model_copy(update={"rows": rows, "conditions": CONDITIONS})


def test_speed_says_what_was_measured_of_each_engine():
    table = timing_tables.speed(measured_latency())
    rows = {row[0]: row[1:] for row in table.rows}
    shipped = rows["Distilled student, INT8"]
    assert shipped == [
        *("812.3 images/s", "12.5 mJ", "0.850 ms", "0.021 ms, CUDA graph"),
        "1.5 s, not warmed up",
    ]
    assert rows["Teacher, FP32"] == ["812.3 images/s", "12.5 mJ", "–", "–", "1.5 s"]
    assert "VDD_IN (INA3221)" in table.caption


@pytest.mark.parametrize(
    ("known", "shown"),
    [
        ({"cuda_graph": False, "enqueue_p50_ms": 0.25}, "0.250 ms, no CUDA graph"),
        ({"cuda_graph": None, "enqueue_p50_ms": None}, "–"),
    ],
)
def test_an_engine_without_a_graph_or_of_an_earlier_version(known, shown):
    timed = measured_latency()
    rows = [
        row.model_copy(update={"device": row.device and row.device.model_copy(update=known)})
        for row in timed.rows
    ]
    table = timing_tables.speed(timed.model_copy(update={"rows": rows}))
    cells = {row[0]: row[4] for row in table.rows}
    assert cells["Distilled student, INT8"] == shown


def test_energy_that_cannot_be_read_is_said_not_to_be_measured():
    table = timing_tables.speed(measured_latency(energy=None))
    assert {row[2] for row in table.rows} == {"not measured"}


def test_results_of_an_earlier_version_have_no_such_table():
    assert timing_tables.speed(latency()) is None


def test_conditions_before_during_and_after():
    table = timing_tables.conditions(CONDITIONS)
    assert "MAXN_SUPER" in table.caption
    assert {row[0]: row[1:] for row in table.rows} == {
        "Clocks": ["not locked", "–", "not locked"],
        "CPU clock": ["1728 MHz"] * 3,
        "GPU clock": ["1020 MHz", "306 to 1020 MHz", "1020 MHz"],
        "Hottest zone": ["51.6 °C (gpu-thermal)", "70.1 °C (gpu-thermal)", "51.6 °C (gpu-thermal)"],
        "Throttling": ["none", "oc3 41 times", "none"],
        "Load": ["1.18", "–", "1.18"],
    }


@pytest.mark.parametrize("page", [Markdown(), Html()], ids=["markdown", "html"])
def test_pages_show_both_tables(page):
    target = cpu_target()
    text = page.render(run_report(with_measurements(target, latency=measured_latency())))
    assert "812.3 images/s" in text and "oc3 41 times" in text


def test_a_frame_says_where_its_time_goes():
    table = timing_tables.frame(latency_with_frames(), "int8")
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["Distilled student, INT8"][2:] == ["0.999 ms", "1.19 ms", "0.078 ms"]
    assert rows["Distilled student, FP32"][2:] == ["0.999 ms", "1.90 ms", "0.000 ms"]
    assert rows["Distilled student, INT8"][0].startswith("2.26 ms (")
    assert table.marked == 1
    assert "640 x 480 raw RGB pixels" in table.caption
    assert timing_tables.frame(latency()) is None


def test_the_formats_have_the_table_of_frames():
    report = run_report(with_measurements(cpu_target(), latency=latency_with_frames()))
    for format_ in (Html(), Markdown()):
        text = format_.render(report)
        assert "640 x 480 raw RGB pixels in memory" in text and "2.26 ms" in text
