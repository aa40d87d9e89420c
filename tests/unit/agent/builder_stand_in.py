"""A stand-in for the part of TensorRT's module that builds engines, release 8.5 to 11.

It remembers what it was told. Its ONNX parser is the onnx package's; a "plan" is the model itself.
What it logs was recorded on devices; sources are with the tests that use it.
"""

from __future__ import annotations

import enum
import types
from typing import Any

import onnx

NOT_ON_DLA = ("Cast", "Transpose")
STALE = "Calibration table does not match calibrator algorithm type."


class _Member(enum.IntEnum):
    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class StandIn(types.SimpleNamespace):
    """The module. `fails(flags)` returns the builder's errors, or none where it builds; `layers` is
    what the engine inspector says."""

    def __init__(
        self,
        version: str = "10.3.0.30",
        number: int = 100300,
        fails: Any = None,
        layers: str = '{"Layers": ["conv"]}',
    ) -> None:
        has_flags = not version.startswith("11")
        flags = ["INT8", "FP16", "TF32", "GPU_FALLBACK"] if has_flags else ["TF32", "GPU_FALLBACK"]
        super().__init__(
            __name__="tensorrt",
            __version__=version,
            ILogger=type("ILogger", (), {"ERROR": "error", "INTERNAL_ERROR": "internal error"}),
            IInt8EntropyCalibrator2=type("IInt8EntropyCalibrator2", (), {}),
            NetworkDefinitionCreationFlag=_Member,
            BuilderFlag=types.SimpleNamespace(**{name: name for name in flags}),
            ProfilingVerbosity=types.SimpleNamespace(DETAILED="detailed"),
            MemoryPoolType=types.SimpleNamespace(WORKSPACE="workspace"),
            LayerInformationFormat=types.SimpleNamespace(JSON="json"),
            DeviceType=types.SimpleNamespace(DLA="dla"),
            ErrorCode=types.SimpleNamespace(MODEL_DESERIALIZE_FAILED="unreadable"),
        )
        self.layers = layers
        self.number, self.fails = number, fails or (lambda flags: [])
        self.attempts: list[tuple[int, Config]] = []
        self.scales: list[bytes] = []

    def Builder(self, log: Any) -> _Builder:  # noqa: N802 - TensorRT's names
        return _Builder(self, log)

    def OnnxParser(self, network: _Network, log: Any) -> _Parser:  # noqa: N802
        return _Parser(network)

    def Runtime(self, log: Any) -> Any:  # noqa: N802
        inspector = types.SimpleNamespace(get_engine_information=lambda form: self.layers)
        engine = types.SimpleNamespace(create_engine_inspector=lambda: inspector)
        return types.SimpleNamespace(deserialize_cuda_engine=lambda plan: engine)


class Config:
    def __init__(self) -> None:
        self.flags = {"TF32"}
        self.profiles: list[Any] = []
        self.default_device_type = self.DLA_core = self.int8_calibrator = None

    def set_flag(self, flag: str) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: str) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: str, size: int) -> None: ...

    def add_optimization_profile(self, profile: Any) -> None:
        self.profiles.append(profile)

    def can_run_on_DLA(self, layer: Any) -> bool:  # noqa: N802
        return layer.kind not in NOT_ON_DLA


class _Network:
    num_inputs = num_outputs = 1

    def __init__(self) -> None:
        self.layers: list[Any] = []
        self.input: Any = None

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    def get_layer(self, index: int) -> Any:
        return self.layers[index]

    def get_input(self, index: int) -> Any:
        return self.input


class _Parser:
    num_errors = 0

    def __init__(self, network: _Network) -> None:
        self._network = network

    def parse(self, content: bytes) -> bool:
        graph = onnx.load_from_string(content).graph
        self._network.layers = [
            types.SimpleNamespace(name=node.name or node.output[0], kind=node.op_type)
            for node in graph.node
        ]
        (entry,) = graph.input
        shape = tuple(each.dim_value or -1 for each in entry.type.tensor_type.shape.dim)
        self._network.input = types.SimpleNamespace(name=entry.name, shape=shape)
        return True


class _Builder:
    num_DLA_cores = 2  # noqa: N815

    def __init__(self, trt: StandIn, log: Any) -> None:
        self._trt, self._log, self._typing = trt, log, 0

    def create_network(self, flags: int) -> _Network:
        self._typing = flags
        return _Network()

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Any:
        return types.SimpleNamespace(set_shape=lambda *shapes: None)

    def build_serialized_network(self, network: _Network, config: Config) -> bytes | None:
        self._trt.attempts.append((self._typing, config))
        for layer in network.layers if config.default_device_type == "dla" else ():
            if not config.can_run_on_DLA(layer):
                words = (
                    f"Layer '{layer.name}' ({layer.kind.upper()}): Unsupported on DLA. Switching"
                )
                self._log.log("warning", f"{words} this layer's device type to GPU.")
        errors = list(self._trt.fails(self._typing))
        if config.int8_calibrator is not None:
            cache = config.int8_calibrator.read_calibration_cache()
            self._trt.scales.append(cache)
            if not cache.startswith(f"TRT-{self._trt.number}-EntropyCalibration2\n".encode()):
                # with no batch to calibrate with, either
                errors += [STALE] if config.int8_calibrator.get_batch(["images"]) is None else []
        for words in errors:
            self._log.log("error", words)
        return None if errors else b"plan"
