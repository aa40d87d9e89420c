"""Device infos of boards, from what owners of such boards published.

Values that a page omits are filled in plausibly. No board was available to this project.
"""

from __future__ import annotations

import copy
from typing import Any

_COMMON: dict[str, Any] = {
    "machine": "aarch64",
    "kernel": "5.15.148-tegra",
    "numpy": "1.26.4",
    "onnxruntime": None,
    "openvino": None,
    "tensorrt_rtx": None,
    "tensorrt_file": "/usr/lib/python3/dist-packages/tensorrt/__init__.py",
    "import_errors": {},
    "pip": "/usr/bin/python3 -m pip install --user",
    "trtexec": {"path": "/usr/src/tensorrt/bin/trtexec", "version": None},
    "driver": None,
    "compatible": [],
    "gpu_denied": None,
    "cuda_error": None,
    "processor": "ARMv8 Processor rev 1 (v8l)",
    "vnni": None,
    "arm_dot_product": True,
    "precise_int8": False,
    "bf16": None,
    "disk_free_mb": 40_000,
    "dla_cores": 0,
    "clocks": {"locked": True, "governor": "schedutil", "gpu_hz": None, "cpu_hz": None},
    "temperature_c": {"cpu-thermal": 48.2, "gpu-thermal": 46.9},
    "throttled": False,
    "power_rails": ["VDD_IN"],
    "time": 1_780_000_000.0,
}

BOARDS: dict[str, dict[str, Any]] = {
    # https://github.com/rbonghi/jetson_stats/issues/603
    "orin-nx": {
        "model": "NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
        "system": "Ubuntu 22.04 Jammy Jellyfish",
        "python": "3.10.12",
        "tensorrt": "10.3.0",
        "cuda": "12.6.68",
        "jetpack": "6.2",
        "l4t": "36.4.3",
        "cores": 8,
        "memory_mb": 7620,
        "memory_free_mb": 5000,
        "gpu": {"name": "Orin", "sm": "87", "uuid": None, "memory_mb": 7620},
        "power_mode": {"id": 2, "name": "15W"},
    },
    # https://github.com/rbonghi/jetson_stats/issues/820; JetPack's package was not installed;
    # /issues/711 for the device tree
    "thor": {
        "model": "NVIDIA Jetson AGX Thor Developer Kit",
        "compatible": ["nvidia,p4071-0000+p3834-0008", "nvidia,p3834-0008", "nvidia,tegra264"],
        "system": "Ubuntu 24.04 Noble Numbat",
        "python": "3.12.3",
        "tensorrt": "10.13.3.9",
        "cuda": "13.0.48",
        "jetpack": None,
        "l4t": "38.4.0",
        "cores": 14,
        "memory_mb": 125_000,
        "memory_free_mb": 110_000,
        "gpu": {"name": "NVIDIA Thor", "sm": "110", "uuid": None, "memory_mb": None},
        "power_mode": {"id": 1, "name": "120W"},
    },
    # https://github.com/NVIDIA/TensorRT/issues/4300: CUDA 12.2 put beside JetPack 5.1.2's 11.4
    "xavier": {
        "model": "Jetson-AGX",
        "system": "Ubuntu 20.04 Focal Fossa",
        "python": "3.8.10",
        "tensorrt": "8.5.2.2",
        "cuda": "12.2.140",
        "jetpack": "5.1.2",
        "l4t": "35.4.1",
        "cores": 8,
        "memory_mb": 31_000,
        "memory_free_mb": 25_000,
        "gpu": {"name": "Xavier", "sm": "72", "uuid": None, "memory_mb": 31_000},
        "power_mode": {"id": 0, "name": "MAXN"},
    },
    # https://github.com/pythops/jetson-image/pull/165: a Super board in its third mode
    "orin-nano": {
        "model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        "system": "Ubuntu 22.04 Jammy Jellyfish",
        "python": "3.10.12",
        "tensorrt": "10.3.0",
        "cuda": "12.6.68",
        "jetpack": "6.2.1",
        "l4t": "36.4.4",
        "cores": 6,
        "memory_mb": 7619,
        "memory_free_mb": 5200,
        "gpu": {"name": "Orin", "sm": "87", "uuid": None, "memory_mb": 7619},
        "power_mode": {"id": 2, "name": "MAXN_SUPER"},
    },
    # https://github.com/rbonghi/jetson_stats/issues/405 for the model and the module's number
    "orin-nano-5": {
        "model": "NVIDIA Orin Nano Developer Kit",
        "compatible": ["nvidia,p3768-0000+p3767-0005", "nvidia,p3767-0000", "nvidia,tegra234"],
        "system": "Ubuntu 20.04.6 LTS",
        "python": "3.8.10",
        "tensorrt": "8.5.2.2",
        "cuda": "11.4.315",
        "jetpack": "5.1.1",
        "l4t": "35.3.1",
        "cores": 6,
        "memory_mb": 6481,
        "memory_free_mb": 5000,
        "gpu": {"name": "Orin", "sm": "87", "uuid": None, "memory_mb": 6481},
        "power_mode": {"id": 0, "name": "15W"},
    },
    # https://github.com/OE4T/meta-tegra/pull/1566 for the model, and the kernel's
    # tegra234-p3740-0002+p3701-0008.dts for what it is compatible with
    "igx-orin": {
        "model": "NVIDIA IGX Orin Development Kit",
        "compatible": ["nvidia,p3740-0002+p3701-0008", "nvidia,p3701-0008", "nvidia,tegra234"],
        "system": "Ubuntu 22.04.4 LTS",
        "python": "3.10.12",
        "tensorrt": "8.6.2.3",
        "cuda": "12.2.140",
        "jetpack": "6.0",
        "l4t": "36.3.0",
        "cores": 12,
        "memory_mb": 62_800,
        "memory_free_mb": 50_000,
        "gpu": {"name": "Orin", "sm": "87", "uuid": None, "memory_mb": 62_800},
        "power_mode": {"id": 0, "name": "MAXN"},
    },
    # https://wener.me/notes/hardware/sbc/rpi/vcgencmd for its output
    "raspberry": {
        "model": "Raspberry Pi 5 Model B Rev 1.0",
        "system": "Debian GNU/Linux 12 (bookworm)",
        "python": "3.11.2",
        "onnxruntime": "1.23.0",
        "tensorrt": None,
        "trtexec": None,
        "cuda": None,
        "jetpack": None,
        "l4t": None,
        "cores": 4,
        "memory_mb": 8062,
        "memory_free_mb": 6900,
        "gpu": None,
        "power_mode": None,
    },
}


def board(name: str, **changes: Any) -> dict[str, Any]:
    """The device info of one board, with some values changed."""
    return copy.deepcopy(_COMMON | BOARDS[name]) | changes
