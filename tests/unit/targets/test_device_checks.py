"""Problems of a device are found before anything long starts, each with its fix."""

import pytest
from boards import BOARDS, board

from tmkd_deploy.targets import catalog, resolve, support
from tmkd_deploy.targets.device_checks import findings
from tmkd_deploy.targets.finding import Finding


def look(name, target=None, **changes) -> dict[str, Finding]:
    info = board(name, **changes)
    wanted = catalog.get(target or resolve.profile_of(info))
    found = findings(info, wanted, host_time=info.get("host_time", 1_780_000_000.0))
    assert len({each.subject for each in found}) == len(found)
    assert all(each.remedy for each in found if each.state != "ok")
    return {each.subject: each for each in found}


def not_ok(found: dict[str, Finding]) -> set[str]:
    return {subject for subject, each in found.items() if each.state != "ok"}


def test_a_sound_board_has_nothing_to_fix() -> None:
    found = look("orin-nano")
    assert not_ok(found) == set()
    assert found["JetPack"].found == "6.2.1 (Jetson Linux 36.4.4)"
    assert found["TensorRT"].found == "10.3.0; JetPack 6.2 includes 10.3"


def test_a_processor_needs_less_memory_than_tensorrts_builder() -> None:
    assert look("raspberry", memory_free_mb=1100)["Memory"].state == "ok"
    assert look("raspberry", memory_free_mb=900)["Memory"].state == "warning"
    assert look("raspberry", memory_free_mb=200)["Memory"].state == "error"


def test_the_raspberry_needs_onnx_runtime_alone() -> None:
    assert not_ok(look("raspberry")) == set()
    assert "TensorRT" not in look("raspberry")


def test_a_missing_runtime_is_installed_as_the_devices_python_permits() -> None:
    # Raspberry Pi OS 12 manages its Python's packages itself: https://peps.python.org/pep-0668/
    managed = "/usr/bin/python3 -m pip install --user --break-system-packages"
    runtime = look("raspberry", onnxruntime=None, pip=managed)["ONNX Runtime"]
    assert runtime.state == "error" and runtime.remedy == f"{managed} onnxruntime"


def test_openvino_is_asked_for_where_the_target_is_for_it() -> None:
    missing = look("raspberry", target="cpu-openvino")
    assert missing["OpenVINO"].state == "error" and "ONNX Runtime" not in missing
    assert missing["OpenVINO"].remedy.endswith("pip install --user openvino")
    found = look("raspberry", target="cpu-openvino", openvino="2026.4.1", onnxruntime=None)
    assert found["OpenVINO"].found == "2026.4.1" and not_ok(found) == set()
    # its files do not saturate, so ONNX Runtime's mode is of no interest
    assert "INT8 arithmetic" not in found


def test_a_slow_power_mode_is_reported_with_the_fastest() -> None:
    mode = look("orin-nx")["Power mode"]
    assert mode.state == "warning" and mode.found == "15W (2); the fastest is MAXN_SUPER"
    assert mode.remedy.startswith("sudo nvpmodel -m 0")
    nano = look("orin-nano", power_mode={"id": 0, "name": "15W"})["Power mode"]
    assert nano.remedy.startswith("sudo nvpmodel -m 2")


def test_jetpack_is_identified_by_its_linux_if_its_package_is_missing() -> None:
    assert look("thor")["JetPack"].found.startswith("7.1 by its Linux")


@pytest.mark.parametrize(
    ("changes", "found"),
    [({"jetpack": None, "l4t": None}, "unknown"), ({"jetpack": "4.6.1"}, "4.6.1")],
)
def test_an_unknown_jetpack_is_reported(changes, found) -> None:
    finding = look("orin-nx", **changes)["JetPack"]
    assert finding.state == "warning" and found in finding.found


def test_a_cuda_that_jetpacks_tensorrt_is_not_for() -> None:
    cuda = look("xavier")["CUDA"]
    assert cuda.state == "error" and "12.2.140" in cuda.found and "11.4" in cuda.found
    assert cuda.remedy == "sudo apt-get install cuda-toolkit-11-4"


@pytest.mark.parametrize(
    ("changes", "subject", "state", "expected", "remedy"),
    [
        ({"numpy": None}, "Python", "error", "without numpy", "python3-numpy"),
        ({"tensorrt": None, "trtexec": None}, "TensorRT", "error", "missing", "nvidia-jetpack"),
        ({"tensorrt": None}, "TensorRT", "warning", "trtexec", "python3-libnvinfer"),
        (
            {"tensorrt": None, "python": "3.12.1"},
            *("TensorRT", "warning", "trtexec", "for Python 3.10, but python3 is 3.12.1"),
        ),
        # https://github.com/NVIDIA/TensorRT/issues/2130: an AGX Orin with JetPack 5.0
        ({"tensorrt": "8.4.0"}, "TensorRT", "error", "uint8 images from 8.5", "JetPack 5.1"),
        # https://github.com/dusty-nv/jetson-inference/issues/1920
        (
            {
                "tensorrt": None,
                "import_errors": {"tensorrt": "ImportError: libnvdla_compiler.so: cannot open"},
            },
            *("TensorRT", "error", "libnvdla_compiler.so", "nvidia-l4t-dla-compiler"),
        ),
        # https://github.com/NVIDIA/TensorRT/issues/3053
        (
            {"tensorrt": None, "import_errors": {"tensorrt": "ImportError: tensorrt.so: cannot"}},
            *("TensorRT", "error", "cannot import tensorrt: ImportError", "--reinstall"),
        ),
        (
            {
                "tensorrt": "10.7.0",
                "tensorrt_file": "/home/nvidia/.local/lib/python3.10/site-packages/tensorrt",
            },
            *("TensorRT", "warning", "/home/nvidia/.local", "pip uninstall tensorrt"),
        ),
        # https://github.com/ggml-org/llama.cpp/pull/23732
        ({"l4t": "36.4.7"}, "Jetson Linux", "warning", "NvMap, error 12", "restart the device"),
        ({"disk_free_mb": 100}, "Disk", "error", "100 MB", "TMKD_DEPLOY_AGENT_HOME"),
        ({"memory_free_mb": 100}, "Memory", "error", "100 of 7620", "isolate"),
        ({"memory_free_mb": 900}, "Memory", "error", "900 of 7620", "isolate"),
        ({"memory_free_mb": 1500}, "Memory", "warning", "2048", "isolate"),
        (
            {"clocks": {"locked": False, "governor": "schedutil"}},
            *("Clocks", "warning", "not locked", "sudo jetson_clocks"),
        ),
        ({"throttled": True}, "Heat", "warning", "cpu-thermal is at 48.2", "tegrastats"),
        ({"time": 1_780_000_000.0 - 31_536_000}, "Clock", "warning", "365 days behind", "set-ntp"),
        ({"time": 1_780_000_300.0}, "Clock", "warning", "5 minutes ahead", "set-ntp"),
        ({"gpu": None}, "GPU", "warning", "not found", "tegrastats"),
        # https://github.com/NVIDIA/NemoClaw/pull/5018: an account outside of the group on an Orin
        (
            {
                "gpu": None,
                "gpu_denied": {"path": "/dev/nvmap", "group": "video"},
                "cuda_error": 999,
            },
            *("GPU", "error", "/dev/nvmap of the group video", "usermod -aG video,render"),
        ),
        ({"gpu": None, "cuda_error": 100}, "GPU", "error", "(error 100)", "tegrastats"),
    ],
)
def test_each_fault_is_found_with_its_remedy(changes, subject, state, expected, remedy) -> None:
    before, found = look("orin-nx"), look("orin-nx", **changes)
    finding = found[subject]
    assert finding.state == state and expected in finding.found and remedy in finding.remedy
    assert not_ok(found) == not_ok(before) | {subject}, "nothing else is blamed"


def test_clocks_without_jetson_clocks_are_locked_by_their_governor() -> None:
    clocks = look("raspberry", clocks={"locked": False, "governor": "ondemand"})["Clocks"]
    assert clocks.found == "not locked, governor ondemand; latencies will vary"
    assert "sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor" in clocks.remedy


def test_a_gpu_of_another_architecture_is_wrong() -> None:
    found = look("orin-nx", target="rtx-ada")
    assert found["GPU"].state == "error" and "SM89" in found["GPU"].found
    assert found["TensorRT-RTX"].state == "error"
    assert look("raspberry", target="cpu-x86")["Architecture"].state == "error"


@pytest.mark.parametrize(
    ("cuda", "driver", "state"),
    [("12.4.1", "470.223.02", "error"), ("12.4.1", "550.54.15", "ok"), ("13.0", None, "ok")],
)
def test_cuda_and_a_driver_installed_apart(cuda, driver, state) -> None:
    found = look("raspberry", target="rtx-ada", cuda=cuda, driver=driver)["CUDA"]
    assert found.state == state
    assert state == "ok" or "nvidia-driver-525" in found.remedy


def test_without_a_profile_any_runtime_will_do() -> None:
    info = board("raspberry", machine="riscv64", model=None)
    assert all(each.state == "ok" for each in findings(info, None, info["time"]))
    info["onnxruntime"] = None
    [runtime] = [each for each in findings(info, None, info["time"]) if each.state == "error"]
    assert runtime.subject == "Runtime" and "pip install" in runtime.remedy


@pytest.mark.parametrize("name", BOARDS)
def test_a_device_that_reports_little_is_checked_too(name) -> None:
    info = board(name)
    kept = {"machine", "python", "cores", "time"}
    silent = {key: value if key in kept else None for key, value in info.items()}
    for wanted in (None, *(catalog.get(each) for each in catalog.names())):
        found = findings(silent, wanted, info["time"])
        assert {"Device", "Python", "Clock"} <= {each.subject for each in found}


@pytest.mark.parametrize(
    ("tensorrt", "sm", "known"),
    [
        # reported by the builders themselves: github.com/DDTRobot/tita_rl_sim2sim2real/issues/7,
        # github.com/NVIDIA/TensorRT/issues/2727
        ("10.7.0", "120", False),
        ("10.8.0.43", "120", True),
        ("8.4.1.5", "89", False),
        ("8.4.1.5", "87", False),  # it cannot read uint8 images
        ("8.5.1.7", "89", True),
        ("8.5.2.2", "72", True),
        ("10.3.0", "72", False),
        ("10.13.3.9", "110", True),
        ("10.3.0", "999", True),
        ("unknown", "87", True),
    ],
)
def test_a_tensorrt_supports_an_architecture_or_does_not(tensorrt, sm, known) -> None:
    assert (support.unsupported_reason(tensorrt, sm) is None) == known


def test_every_release_in_the_profiles_supports_its_board() -> None:
    for target in (catalog.get(name) for name in catalog.names()):
        for row in target.software:
            sm = str(target.compute_capability).removeprefix("SM")
            assert support.unsupported_reason(row.tensorrt, sm) is None
