"""A stand-in for TensorRT's module, for agents in processes of their own.

It "builds" the ONNX file itself, and runs it as `gpu_stand_ins.Engine` does.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gpu_stand_ins import Engine as _Engine

__version__ = "10.3.0.30"

TensorIOMode = SimpleNamespace(INPUT="input")
ProfilingVerbosity = SimpleNamespace(DETAILED="detailed")
MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
BuilderFlag = SimpleNamespace(TF32="TF32", FP16="FP16", INT8="INT8")
NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
LayerInformationFormat = SimpleNamespace(JSON="JSON")
ErrorCode = SimpleNamespace()


class ILogger:
    ERROR = "error"
    INTERNAL_ERROR = "internal error"


class Logger:
    ERROR = "error"

    def __init__(self, severity: str) -> None:
        pass


class _Anything:
    """Takes every call and every attribute."""

    def __getattr__(self, name: str) -> Any:
        if name == "create_timing_cache":
            raise AttributeError(name)
        return lambda *arguments: None


class Builder:
    num_DLA_cores = 0  # noqa: N815 - TensorRT's name

    def __init__(self, log: Any) -> None:
        pass

    def create_network(self, flags: int) -> Any:
        return SimpleNamespace(num_layers=3, num_inputs=1, num_outputs=1)

    def create_builder_config(self) -> Any:
        return _Anything()

    def create_optimization_profile(self) -> Any:
        return _Anything()

    def build_serialized_network(self, network: Any, config: Any) -> bytes:
        model: bytes = network.model
        return model


class OnnxParser:
    num_errors = 0

    def __init__(self, network: Any, log: Any) -> None:
        self._network = network

    def parse(self, model: bytes) -> bool:
        import onnxruntime

        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        (pixels,) = session.get_inputs()
        end = SimpleNamespace(name=pixels.name, shape=(-1, *pixels.shape[1:]))
        self._network.model = model
        self._network.get_input = lambda index: end
        return True


class Engine(_Engine):
    def create_engine_inspector(self) -> Any:
        return SimpleNamespace(get_engine_information=lambda format: '{"Layers": []}')


class Runtime:
    DLA_core = None

    def __init__(self, log: Any) -> None:
        pass

    def deserialize_cuda_engine(self, plan: bytes) -> Engine:
        return Engine(plan)
