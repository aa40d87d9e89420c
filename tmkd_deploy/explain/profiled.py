"""The runtimes whose engines are profiled on this machine when they are explained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tmkd_deploy.explain import onnxruntime, openvino
from tmkd_deploy.explain.graph import Graph
from tmkd_deploy.explain.interface import EngineView
from tmkd_deploy.records.types import RuntimeName

# each takes an engine, the exported graph and the threads of the session
VIEWS: dict[RuntimeName, Callable[[Path, Graph, int], EngineView]] = {
    "onnxruntime": onnxruntime.view,
    "openvino": openvino.view,
}
