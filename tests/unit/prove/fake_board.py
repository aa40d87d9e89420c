"""A stand-in for an attached Jetson Orin NX with JetPack 6.2, which cannot be had here.

It answers the agent's requests as `devices.answers` wants them: engines are their ONNX files, run
by ONNX Runtime; times, rails and texts are made up. `lies` change one answer each.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from boards import board
from onnx import load

from tmkd_deploy.devices import answers
from tmkd_deploy.errors import EnvironmentProblem
from tmkd_deploy.export.reference import reference_logits

COMPATIBLE = ["nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"]
# published with https://github.com/rbonghi/jetson_stats/issues/603 and in NVIDIA's guide
BOARD_FILES = {
    "nvpmodel": ["NV Power Mode: 15W", "2"],
    "modes": [
        "< POWER_MODEL ID=0 NAME=MAXN_SUPER >",
        "< POWER_MODEL ID=1 NAME=10W >",
        "< POWER_MODEL ID=2 NAME=15W >",
    ],
    "release": ["# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64"],
    "compatible": COMPATIBLE,
    "has_nvidia_smi": True,
    "is_root": False,
}
INFO = board(
    "orin-nx",
    compatible=COMPATIBLE,
    dla_cores=1,
    trtexec={"path": "/usr/src/tensorrt/bin/trtexec", "version": "10.3.0"},
)
ROUNDS = 40

Lie = Callable[[Any], Any]


class FakeBoard:
    """In place of `Device`; `lies` has a function from answer to answer by request."""

    def __init__(self, folder: Path, lies: dict[str, Lie] | None = None, **info: Any) -> None:
        self.folder, self.lies = folder, lies or {}
        self.info = INFO | info
        self.asked: list[str] = []
        self.ends: list[float | None] = []
        self.builds = 0
        self.installed = False
        self.logits = np.zeros((1, 4))  # the last ones

    def __call__(self, address: Any, events: Any) -> FakeBoard:
        return self

    def __enter__(self) -> FakeBoard:
        return self

    def __exit__(self, *error: object) -> None: ...

    def lock(self) -> None: ...

    def stop_at(self, end: float | None) -> None:
        self.ends.append(end)

    def upload(self, path: Path) -> str:
        return self._keep(path.read_bytes())

    def download(self, sha256: str, path: Path) -> None:
        shutil.copyfile(self.folder / sha256, path)

    def request(self, name: str, **arguments: Any) -> dict[str, Any]:
        self.asked.append(name)
        answer = getattr(self, f"_{name}")(**arguments)
        if name in self.lies:
            answer = self.lies[name](answer)
        return answers.check(name, answer)

    def _keep(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        (self.folder / sha256).write_bytes(content)
        return sha256

    def _clean(self) -> dict[str, Any]:
        return {}

    def _probe(self) -> dict[str, Any]:
        return dict(self.info)

    def _board_files(self) -> dict[str, Any]:
        return dict(BOARD_FILES)

    def _build(self, onnx: str, precision: str, **rest: Any) -> dict[str, Any]:
        self.builds += 1
        graph = load(str(self.folder / onnx)).graph
        name = "Int8" if precision == "int8" else "Half" if precision == "fp16" else "Float"
        layers = [
            {"name": node.name, "kind": "CaskConvolution", "inputs": [name]}
            for node in graph.node
            if node.op_type == "Conv"
        ]
        pairs = [node.name for node in graph.node if node.op_type == "QuantizeLinear"]
        core, cache = rest.get("dla_core"), rest.get("calibration")
        fallback = [] if core is None else ["cast", "transpose", "head", *pairs]
        typing = "flags" if core is not None else rest.get("typing", "strong")
        log = "[I] Engine generation completed in 3.2 seconds.\n[V] Timing cache: 7 entries read\n"
        log += "" if cache is None else "[I] Using cached calibration scales\n"
        return {
            "engine": onnx,
            "sidecar": {
                "dla": {"gpu_fallback_layers": fallback},
                "versions": {"runtime": "10.3.0"},
                "device": {"sm": "87"},
                "build": {
                    "typing": typing,
                    "command": None,
                    "strong_typing_failed": None,
                    "seconds": 30.0 / 2**self.builds,
                },
            },
            "layers": self._keep(json.dumps(layers).encode()),
            "log": self._keep(log.encode()),
            "reused": False,
        }

    def _predict(self, engine: str, images: str, **rest: Any) -> dict[str, Any]:
        pixels = np.load(self.folder / images)
        path = self.folder / "answer.npy"
        # as on a device, one at a time: files for a DLA take no more
        np.save(path, reference_logits(self.folder / engine, pixels[:100], batch_size=1))
        logits = np.load(path)
        if len(pixels) > len(logits):  # enough for a check of memory
            logits = np.resize(logits, (len(pixels), logits.shape[1]))
        np.save(path, logits)
        self.logits = logits
        return {"logits": self._keep(path.read_bytes())}

    def _measure(self, engines: Any, settings: Any, **rest: Any) -> dict[str, Any]:
        random = np.random.default_rng(len(self.asked))
        times, device = {}, {}
        for each in engines:
            host_ms = 2.0 if each["name"] == "fp32" else 1.0
            runs = max(settings["min_runs"], 1100 * settings["min_seconds"] / host_ms)
            shape = (ROUNDS, math.ceil(runs / ROUNDS))
            blocks = host_ms * random.normal(1, 0.01, shape)
            times[each["name"]] = blocks.tolist()
            device[each["name"]] = (0.8 * blocks).ravel().tolist()
        reading = {
            "clocks": {"locked": True, "governor": "schedutil", "cpu_hz": None, "gpu_hz": None},
            "temperature_c": {"gpu-thermal": 50.0},
            "throttle_counts": {"oc1": 0},
            "throttling": [],
            "load": 0.5,
        }
        energy = {"joules": 2.0, "source": "VDD_IN (INA3221)", "millijoules_per_inference": 4.0}
        seconds = settings["min_seconds"]
        return {
            "blocks": times,
            "device_ms": device,
            "enqueue_ms": {name: [0.02] * len(each) for name, each in device.items()},
            "graph_problem": dict.fromkeys(device),
            "warmup": {
                name: {"seconds": 1.0, "runs": 500, "warmed_up": True, "last_ms": 2.0}
                for name in times
            },
            "throughput": {
                name: {
                    "images_per_second": 500.0,
                    "runs": 500,
                    "seconds": seconds,
                    "energy": energy,
                }
                for name in times
            },
            "conditions": {
                "before": reading,
                "after": reading,
                "power_mode": None,
                "samples": 9,
                "sample_ms": 0.5,
                "cpu_hz": None,
                "gpu_hz": None,
                "temperature_c": {"gpu-thermal": 51.0},
                "throttled": False,
                "throttle_events": {},
            },
            "machine": {"architecture": "aarch64", "cores": 8},
        }

    def _trtexec_times(self, **rest: Any) -> dict[str, Any]:
        random = np.random.default_rng(len(self.asked))
        line = "[I] GPU Compute Time: median = 1.61 ms"
        compute = float(1.61 * random.normal(1, 0.01))
        command = ["trtexec", "--loadEngine=plan"]
        return {"compute_ms": compute, "latency_ms": 1.7, "command": command, "lines": [line]}

    def _kit_build(self, files: dict[str, str], script: str, written: str) -> dict[str, Any]:
        assert script in files and written.endswith(".engine")
        (model,) = (sha256 for name, sha256 in files.items() if name.endswith(".onnx"))
        return {"status": 0, "engine": model, "lines": ["&&&& PASSED TensorRT.trtexec"]}

    def _power_comparison(self, **rest: Any) -> dict[str, Any]:
        monitors = {"VDD_IN": [7000.0, 7100.0], "VDD_SOC": [1500.0, 1600.0]}
        return {"monitors": monitors, "tegrastats": {"VDD_IN": [7200.0, 7300.0]}, "runs": 900}

    def _cpp_run(self, side: int, frames: str, **rest: Any) -> dict[str, Any]:
        count = (self.folder / frames).stat().st_size // (3 * side * side)
        golden = {"golden_images": 8, "largest_difference": 0.01, "tolerance": 0.7}
        found = [{"index": int(each)} for each in self.logits[:count].argmax(axis=1)]
        lines = ["a warning", *map(json.dumps, [golden, *found])]
        return {"status": 0, "step": "classify", "lines": lines}

    def _find_installed(self, **key: Any) -> dict[str, Any]:
        path = "/home/a/.cache/tmkd-deploy/engines/1.plan" if self.installed else None
        return {"release": "10.3.0.30", "compute_capability": 87, "path": path}

    def _install(self, **key: Any) -> dict[str, Any]:
        self.installed = True
        return {"path": self._find_installed()["path"]}

    def _remove_installed(self, **key: Any) -> dict[str, Any]:
        self.installed = False
        return {}

    def _foreign_engine(self, **rest: Any) -> dict[str, Any]:
        words = "It was built for TensorRT 7.0.0, but this device has 10.3.0."
        return {"refused": words, "claimed": "7.0.0", "here": "10.3.0"}


def failing(answer: Any) -> Any:
    """A lie: the device reports an error."""
    raise EnvironmentProblem("TensorRT failed.", advice="None.")
