"""Clocks, temperature, throttling and power, from sysfs trees like those of real machines.

None of these trees was recorded by this project, which has no such board. ORIN_NANO follows
NVIDIA's Jetson Linux Developer Guide 36.4 ("Platform Power and Performance",
https://docs.nvidia.com/jetson/archives/r36.4/DeveloperGuide/SD/PlatformPowerAndPerformance/JetsonOrinNanoSeriesJetsonOrinNxSeriesAndJetsonAgxOrinSeries.html)
and the kernel's Documentation/hwmon/ina3221.rst, with the figures that owners of an Orin Nano
8 GB (L4T 36.4.4, MAXN_SUPER, jetson_clocks) reported. The lines of tegrastats are real output:
https://github.com/GDWR/jetson_exporter/issues/14 (AGX Orin),
https://github.com/rbonghi/jetson_stats/issues/624 (Orin Nano or NX),
https://github.com/henrygd/beszel/pull/1631 (TX2).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tmkd_deploy.agent.telemetry import conditions, power
from tmkd_deploy.agent.telemetry.system_monitor import SystemMonitor, throttled

ORIN_NANO = {
    **{
        f"sys/devices/system/cpu/cpufreq/policy{policy}/{name}": value
        for policy in (0, 4)
        for name, value in {
            "scaling_min_freq": "1728000",
            "scaling_max_freq": "1728000",
            "scaling_cur_freq": "1728000",
            "scaling_governor": "schedutil",
        }.items()
    },
    "sys/class/devfreq/17000000.gpu/min_freq": "1020000000",
    "sys/class/devfreq/17000000.gpu/max_freq": "1020000000",
    "sys/class/devfreq/17000000.gpu/cur_freq": "1020000000",
    "sys/class/devfreq/17000000.gpu/governor": "nvhost_podgov",
    "sys/class/devfreq/15340000.vic/min_freq": "115200000",
    "sys/class/devfreq/15340000.vic/max_freq": "729600000",
    "sys/class/hwmon/hwmon0/name": "pwmfan",
    "sys/class/hwmon/hwmon1/name": "ina3221",
    "sys/class/hwmon/hwmon1/in1_label": "VDD_IN",
    "sys/class/hwmon/hwmon1/in1_input": "5016",
    "sys/class/hwmon/hwmon1/curr1_input": "1816",
    "sys/class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV",
    "sys/class/hwmon/hwmon1/in2_input": "5008",
    "sys/class/hwmon/hwmon1/curr2_input": "440",
    "sys/class/hwmon/hwmon1/in3_label": "VDD_SOC",
    "sys/class/hwmon/hwmon1/in3_input": "5008",
    "sys/class/hwmon/hwmon1/curr3_input": "480",
    "sys/class/hwmon/hwmon1/in7_label": "sum of shunt voltages",
    "sys/class/hwmon/hwmon1/in7_input": "13",
    "sys/class/hwmon/hwmon3/name": "soctherm_oc",
    "sys/class/hwmon/hwmon3/oc1_event_cnt": "0",
    "sys/class/hwmon/hwmon3/oc2_event_cnt": "0",
    "sys/class/hwmon/hwmon3/oc3_event_cnt": "27390",
    "sys/class/hwmon/hwmon3/oc3_throt_en": "1",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "50406",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal",
    "sys/class/thermal/thermal_zone1/temp": "51656",
    "sys/class/thermal/thermal_zone2/type": "cv0-thermal",  # without power: cannot be read
    "sys/class/thermal/thermal_zone3/type": "cv1-thermal",
    "sys/class/thermal/thermal_zone3/temp": "-256000",
    "sys/class/thermal/cooling_device0/type": "pwm-fan",
    "sys/class/thermal/cooling_device0/cur_state": "3",
    "sys/class/thermal/cooling_device1/type": "cpufreq-cpu0",
    "sys/class/thermal/cooling_device1/cur_state": "0",
    "sys/class/thermal/cooling_device2/type": "devfreq-17000000.gpu",
    "sys/class/thermal/cooling_device2/cur_state": "0",
    "proc/loadavg": "1.18 0.90 0.55 2/700 4242",
}
AGX_ORIN = (
    "04-11-2025 10:36:27 RAM 4321/62801MB (lfb 1759x4MB) SWAP 19/31400MB (cached 0MB) "
    "CPU [0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729] "
    "EMC_FREQ 0%@2133 GR3D_FREQ 0%@[0,0] VIC_FREQ 729 APE 174 CV0@-256C CPU@44.562C Tboard@32C "
    "SOC2@40.093C Tdiode@33C SOC0@41.093C CV1@-256C GPU@-256C tj@44.343C SOC1@41.25C CV2@-256C "
    "VDD_GPU_SOC 2340mW/2340mW VDD_CPU_CV 390mW/390mW VIN_SYS_5V0 4025mW/4025mW NC 0mW/0mW "
    "VDDQ_VDD2_1V8AO 301mW/301mW NC 0mW/0mW"
)
ORIN = (
    "05-15-2025 18:30:28 RAM 6982/7620MB (lfb 5x1MB) SWAP 2640/16384MB (cached 202MB) CPU "
    "[97%@1984,95%@1984,95%@1984,91%@1984,88%@1984,93%@247] EMC_FREQ 18%@3199 GR3D_FREQ 84%@[713] "
    "NVENC 1%@115 NVDEC 40%@115 NVJPG off NVJPG1 off VIC 31%@115 OFA off NVDLA0 off PVA0_FREQ off "
    "APE 174 cv0@63.031C cpu@65.562C soc2@64.156C soc0@63.031C cv1@62.937C gpu@63.5C tj@65.562C "
    "soc1@64.718C cv2@60.875C VDD_IN 17946mW/15710mW VDD_CPU_GPU_CV 8896mW/7585mW "
    "VDD_SOC 3923mW/3515mW"
)
TX2 = (
    "RAM 3276/7859MB (lfb 5x4MB) SWAP 1626/12122MB (cached 0MB) CPU "
    "[44%@1421,49%@2031,67%@2034,17%@1420,25%@1419,8%@1420] EMC_FREQ 1%@1866 GR3D_FREQ 0%@114 "
    "APE 150 MTS fg 1% bg 1% PLL@42.5C MCPU@42.5C PMIC@50C Tboard@38C GPU@39.5C BCPU@42.5C "
    "thermal@41.3C Tdiode@39.25C VDD_SYS_GPU 182/182 VDD_SYS_SOC 730/730 VDD_4V0_WIFI 0/0 "
    "VDD_IN 5297/5297 VDD_SYS_CPU 1917/1917 VDD_SYS_DDR 1241/1241"
)

# An AGX Thor's; VIN is the total, by https://github.com/rbonghi/jetson_stats/pull/900. The first
# line is an owner's, quoted in the docstring of measure_atp_energy_efficiency.py; the second is of
# 2026-07-23, in the tests of a Go parser of tegrastats: rails now have three values. The files
# follow that pull request: a monitor of its own, in microwatts.
THOR = (
    "12-09-2025 04:56:58 RAM 16614/125772MB (lfb 106x4MB) cpu@35.25C tj@36.343C "
    "VDD_GPU 5956mW/5956mW VDD_CPU_SOC_MSS 7148mW/7148mW VIN_SYS_5V0 6807mW/6807mW "
    "VIN 25530mW/12765mW"
)
THOR_7_2 = (
    "EMC_FREQ 7%@3200 GR3D_FREQ @[314,314,314] VIC 59%@423 OFA_FREQ @1556 PVA0_FREQ off APE 300 "
    "cpu@34.843C/34.843C tj@35.906C/35.906C gpu@35.906C/35.906C VDD_GPU 4925mW/4925mW/4925mW "
    "VDD_CPU_SOC_MSS 8710mW/8710mW/8710mW VIN_SYS_5V0 6767mW/6767mW/6767mW"
)
THOR_RAILS = {
    "sys/class/hwmon/hwmon1/name": "ina3221",
    "sys/class/hwmon/hwmon1/in1_label": "VDD_GPU",
    "sys/class/hwmon/hwmon1/in1_input": "5956",
    "sys/class/hwmon/hwmon1/curr1_input": "1000",
    "sys/class/hwmon/hwmon1/in3_label": "VIN_SYS_5V0",
    "sys/class/hwmon/hwmon1/in3_input": "5000",
    "sys/class/hwmon/hwmon1/curr3_input": "1361",
    "sys/class/hwmon/hwmon2/name": "ina238",
    "sys/class/hwmon/hwmon2/label": "VIN",
    "sys/class/hwmon/hwmon2/in1_input": "20000",
    "sys/class/hwmon/hwmon2/power1_input": "25530000",
}


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def test_a_jetson_with_locked_clocks(tmp_path):
    found = conditions.read(tree(tmp_path, ORIN_NANO))
    assert found["clocks"] == {
        "locked": True,
        "governor": "schedutil",
        "cpu_hz": 1_728_000_000,
        "gpu_hz": 1_020_000_000,
    }
    assert found["temperature_c"] == {"cpu-thermal": 50.406, "gpu-thermal": 51.656}
    assert found["throttle_counts"] == {"oc1": 0, "oc2": 0, "oc3": 27390}
    assert found["throttling"] == []  # the fan's state takes no speed away
    assert found["load"] == 1.18
    current = conditions.current(tmp_path)
    assert current["power_rails"] == ["VDD_CPU_GPU_CV", "VDD_IN", "VDD_SOC"]
    assert current["throttled"] is False


@pytest.mark.parametrize(
    "where", ["sys/devices/system/cpu/cpufreq/policy4/scaling_", "sys/class/devfreq/17000000.gpu/"]
)
def test_one_clock_that_may_fall_is_not_locked(tmp_path, where):
    name = f"{where}min_freq"
    assert conditions.clocks(tree(tmp_path, {**ORIN_NANO, name: "306000"}))["locked"] is False


def test_a_cluster_that_is_offline_has_no_clock(tmp_path):
    # its policy remains, but reading it gives EBUSY, "Resource busy":
    # https://github.com/rbonghi/jetson_stats/pull/523
    policy = "sys/devices/system/cpu/cpufreq/policy4/"
    online = {name: text for name, text in ORIN_NANO.items() if not name.startswith(policy)}
    root = tree(tmp_path, online)
    (root / policy).mkdir()
    assert conditions.clocks(root)["locked"] is True
    (root / "sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq").write_text("115200\n")
    assert conditions.clocks(root)["locked"] is False


def test_a_machine_that_reports_nothing(tmp_path):
    assert conditions.read(tmp_path) == {
        "clocks": dict.fromkeys(("locked", "governor", "cpu_hz", "gpu_hz")),
        "temperature_c": {},
        "throttle_counts": {},
        "throttling": None,
        "load": None,
    }
    assert conditions.current(tmp_path)["throttled"] is None
    monitor = SystemMonitor(tmp_path)
    monitor.start()
    assert monitor.stop()["throttled"] is None and monitor.energy() is None


def test_this_machine_can_be_read():
    found = conditions.read(Path("/"))
    assert found["load"] is None or found["load"] >= 0
    assert all(-50 < degrees < 150 for degrees in found["temperature_c"].values())


def test_over_current_events_meanwhile_are_throttling(tmp_path):
    root = tree(tmp_path, ORIN_NANO)
    monitor = SystemMonitor(root)
    monitor.start()
    assert monitor.stop()["throttled"] is False
    monitor = SystemMonitor(root)
    monitor.start()
    (root / "sys/class/hwmon/hwmon3/oc3_event_cnt").write_text("27431\n")
    found = monitor.stop()
    assert found["throttled"] is True
    assert found["throttle_events"] == {"oc3": 41}


def test_a_cooling_device_at_work_is_throttling(tmp_path):
    root = tree(tmp_path, ORIN_NANO)
    monitor = SystemMonitor(root)
    monitor.start()
    state = root / "sys/class/thermal/cooling_device2/cur_state"
    state.write_text("2\n")
    time.sleep(0.55)
    monitor.sample()
    state.write_text("0\n")
    found = monitor.stop()
    assert found["before"]["throttling"] == found["after"]["throttling"] == []
    assert found["throttled"] is True
    assert found["throttle_events"] == {"devfreq-17000000.gpu": 1}


def test_the_extremes_of_clocks_and_temperatures_are_kept(tmp_path):
    root = tree(tmp_path, ORIN_NANO)
    monitor = SystemMonitor(root)
    monitor.start()
    (root / "sys/class/devfreq/17000000.gpu/cur_freq").write_text("306000000\n")
    (root / "sys/class/thermal/thermal_zone1/temp").write_text("70125\n")
    monitor.sample()  # too soon after the first to count
    found = monitor.stop()
    assert found["samples"] == 2
    assert found["gpu_hz"] == [306_000_000, 1_020_000_000]
    assert found["temperature_c"] == {"cpu-thermal": 50.406, "gpu-thermal": 70.125}


@pytest.mark.parametrize(
    ("word", "now"),
    [
        ("0", []),
        ("50000", []),  # it has happened since the start, but not now
        ("50005", ["throttled", "under-voltage"]),
        ("8", ["soft temperature limit"]),
    ],
)
def test_a_raspberry_pi_reports_throttling_in_bits(tmp_path, word, now):
    tree(tmp_path, {"sys/devices/platform/soc/soc:firmware/get_throttled": word})
    assert conditions.throttling(tmp_path) == now


def test_x86_counts_hot_cores_and_packages(tmp_path):
    folder = "sys/devices/system/cpu/cpu{}/thermal_throttle/{}_throttle_count"
    files = {folder.format(core, what): "3" for core in (0, 1) for what in ("core", "package")}
    counts = conditions.throttle_counts(tree(tmp_path, files))
    assert counts == {"core_throttle_count": 6, "package_throttle_count": 6}


def test_a_counter_that_started_again_is_no_event():
    reading = {"throttle_counts": {"oc3": 5}, "throttling": None}
    later = {"throttle_counts": {"oc3": 0}, "throttling": None}
    assert throttled([reading, later]) == {"throttled": False, "throttle_events": {}}


def test_the_modules_input_is_the_whole(tmp_path):
    rails = power.rails_mw(tree(tmp_path, ORIN_NANO))
    assert rails == {
        "VDD_IN": pytest.approx(9109.056),
        "VDD_CPU_GPU_CV": pytest.approx(2203.52),
        "VDD_SOC": pytest.approx(2403.84),
    }
    assert power.total_mw(rails) == rails["VDD_IN"]


def test_thors_whole_board_is_measured_by_another_monitor(tmp_path):
    rails = power.rails_mw(tree(tmp_path, THOR_RAILS))
    assert rails == {"VDD_GPU": 5956.0, "VIN_SYS_5V0": 6805.0, "VIN": 25530.0}
    assert power.total_mw(rails) == 25530.0
    (tmp_path / "sys/class/hwmon/hwmon2/label").unlink()
    assert power.rails_mw(tmp_path) == rails


@pytest.mark.parametrize(
    ("line", "total", "scope"),
    [
        (
            AGX_ORIN,
            2340 + 390 + 4025 + 301,
            "the sum of the rails VDDQ_VDD2_1V8AO, VDD_CPU_CV, VDD_GPU_SOC, VIN_SYS_5V0",
        ),
        (ORIN, 17946, "the module's input VDD_IN"),
        (THOR, 25530, "the board's input VIN"),
        (
            THOR_7_2,
            4925 + 8710 + 6767,
            "the sum of the rails VDD_CPU_SOC_MSS, VDD_GPU, VIN_SYS_5V0",
        ),
        (TX2, 5297, "the module's input VDD_IN"),
        ("RAM 3276/7859MB (lfb 5x4MB) SWAP 1626/12122MB (cached 0MB)", 0, None),
    ],
)
def test_rails_in_a_line_of_tegrastats(line, total, scope):
    rails = power.tegrastats_mw(line)
    assert power.total_mw(rails) == total
    assert scope is None or power.scope(rails) == scope


def test_tegrastats_is_read_while_it_runs_and_ended_with_the_watch(tmp_path, monkeypatch):
    program = tmp_path / "bin/tegrastats"
    program.parent.mkdir()
    lines = f"print({ORIN!r}, flush=True); import time; time.sleep(60)"
    program.write_text(f"#!{sys.executable}\n{lines}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monitor = SystemMonitor(tmp_path / "no sysfs")
    begun = time.perf_counter()
    monitor.start()
    monitor.start_energy()
    monitor.add_energy(2.0)
    assert monitor.energy() == {
        "joules": pytest.approx(2 * 17.946),
        "source": "the module's input VDD_IN (tegrastats)",
    }
    monitor.stop()
    assert time.perf_counter() - begun < 30


def test_processor_counters_run_over(tmp_path):
    zone = "sys/class/powercap/intel-rapl:0"
    files = {
        f"{zone}/name": "package-0",
        f"{zone}/energy_uj": "262143000000",
        f"{zone}/max_energy_range_uj": "262143328850",
        f"{zone}:0/name": "core",  # a part of the package
        f"{zone}:0/energy_uj": "1",
        f"{zone}:0/max_energy_range_uj": "262143328850",
    }
    meter = power.CounterMeter(power.packages(tree(tmp_path, files)))
    meter.reset()
    (tmp_path / zone / "energy_uj").write_text("1671150\n")
    meter.add(0.5)
    assert meter.joules == pytest.approx(2.0)
    (tmp_path / zone / "energy_uj").write_text("4671150\n")
    meter.add(0.5)
    assert meter.joules == pytest.approx(5.0)


def test_power_between_two_readings_is_their_mean():
    readings = iter([{"VDD_IN": 4000.0}, {"VDD_IN": 8000.0}, {"VDD_IN": 8000.0}])
    meter = power.PowerMeter(lambda: next(readings), "INA3221", "the module's input VDD_IN")
    meter.reset()
    meter.add(1.0)
    meter.add(0.5)
    assert meter.joules == pytest.approx(6.0 + 4.0)
