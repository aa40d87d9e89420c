"""ONNX files for a DLA: of a fixed batch and, for releases that need it, with scales beside it.

A DLA runs no layer with a dynamic dimension (https://github.com/onnx/tensorflow-onnx/issues/1632).
Before TensorRT 11 it does not read Q/DQ pairs (https://github.com/NVIDIA/TensorRT/issues/2222). It
then takes a network in floating point and a calibration cache with the scale of each tensor, here
those that the student was fine-tuned with. TensorRT rounds the weights itself, with a scale of
amax / 127 per output channel, as in training except for scales below FP16's normal range.

The format is that of the caches that TensorRT writes, such as in
https://github.com/NVIDIA/TensorRT/issues/2036; which tensors inherit a scale follows
https://github.com/NVIDIA/Deep-Learning-Accelerator-SW, tools/qdq-translator.
"""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tmkd_deploy.engines.tensorrt_typing import dla_needs_cache, version_number
from tmkd_deploy.errors import DataError
from tmkd_deploy.records.types import Precision

if TYPE_CHECKING:
    import numpy as np
    import onnx

_QUANTIZERS = {"QuantizeLinear", "DequantizeLinear"}
# their outputs are values of their inputs
_KEEP_VALUES = {"Flatten", "Identity", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
# rounding before them gives what rounding after them does
_LIMIT_VALUES = {"Clip", "Relu"}


def for_dla(model: Path, precision: Precision, release: str, written: Path) -> Path | None:
    """Write the file that a DLA's engine is built from and, where INT8 needs it, its cache.

    Args:
        model: the student's ONNX file; for a cache, one with weights in floating point.
        precision: of the engine.
        release: the TensorRT release that builds it; a cache is for one release only.
        written: the ONNX file to write; the cache gets its name, with the ending `.cache`.

    Returns:
        The cache; None if there is none.

    Raises:
        DataError: the file cannot be freed from its Q/DQ pairs.
    """
    import onnx  # noqa: PLC0415 - needed only by builders

    proto = onnx.load(str(model))
    cache = None
    if precision == "int8" and dla_needs_cache(release):
        try:
            scales = remove_quantizers(proto)
        except ValueError as error:
            raise DataError(
                f"The model has no scales for a DLA: {error}.",
                where=str(model),
                advice="Export the student again.",
            ) from error
        cache = written.with_suffix(".cache")
        cache.write_text(cache_text(scales, version_number(release)))
    fix_batch(proto)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, str(written))
    return cache


def fix_batch(proto: onnx.ModelProto) -> None:
    """Give a model whose batch is its only dynamic dimension a batch of one."""
    del proto.graph.value_info[:]
    for value in (*proto.graph.input, *proto.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if not dimension.HasField("dim_value"):
                dimension.dim_value = 1


def remove_quantizers(proto: onnx.ModelProto) -> dict[str, float]:
    """Take the Q/DQ pairs out of a graph; returns the scale of each tensor that has one.

    Tensors between a layer and its ReLU, and those that a pooling or reshaping passes on, inherit
    the scale of their neighbour, without which TensorRT would keep both in floating point.

    Raises:
        ValueError: a weight is stored in integers, or a zero point is not zero.
    """
    graph = proto.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    quantized = {node.output[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    originals: dict[str, str] = {}
    scales: dict[str, float] = {}
    for node in graph.node:
        if node.op_type != "DequantizeLinear":
            continue
        quantizer = quantized.get(node.input[0])
        if quantizer is None:
            raise ValueError(f"{node.input[0]!r} is stored in integers")
        scale, zero = (_array(constants[name]) for name in node.input[1:3])
        if zero.any():
            raise ValueError(f"the zero point of {quantizer.input[0]!r} is not zero")
        source = originals.get(quantizer.input[0], quantizer.input[0])
        originals[node.output[0]] = source
        if not scale.ndim:  # one per channel is a weight's
            scales[source] = max(float(scale), scales.get(source, 0.0))
    kept = [node for node in graph.node if node.op_type not in _QUANTIZERS]
    for node in kept:
        for position, name in enumerate(node.input):
            node.input[position] = originals.get(name, name)
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    remaining = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(remaining)
    _pass_on(graph, scales)
    return scales


def _pass_on(graph: onnx.GraphProto, scales: dict[str, float]) -> None:
    """Add the scales that tensors inherit."""
    uses = Counter(name for node in graph.node for name in node.input)
    nodes = [node for node in graph.node if node.input]  # sorted, as ONNX demands
    for node in nodes:
        if node.op_type in _KEEP_VALUES and node.input[0] in scales:
            scales.setdefault(node.output[0], scales[node.input[0]])
    for node in reversed(nodes):
        inherits = node.op_type in _KEEP_VALUES | _LIMIT_VALUES and uses[node.input[0]] == 1
        if inherits and node.output[0] in scales:
            scales.setdefault(node.input[0], scales[node.output[0]])


def cache_text(scales: dict[str, float], version: int) -> str:
    """A calibration cache: each tensor's scale as the hexadecimal digits of a float32.

    TensorRT refuses the cache of another release, "Calibration table does not match calibrator
    algorithm type": https://forums.developer.nvidia.com/t/int8-calibration-cache-for-trtexec-fails/
    349856. Of the algorithms, a DLA takes this one only (NvInfer.h, IInt8EntropyCalibrator2).
    """
    lines = [f"{name}: {struct.pack('>f', scale).hex()}" for name, scale in scales.items()]
    return "\n".join([f"TRT-{version}-EntropyCalibration2", *lines]) + "\n"


def _array(tensor: onnx.TensorProto) -> np.ndarray:
    from onnx import numpy_helper  # noqa: PLC0415

    array: np.ndarray = numpy_helper.to_array(tensor)
    return array
