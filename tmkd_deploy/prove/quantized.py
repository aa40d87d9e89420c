"""The classifier's ONNX files: in FP32 and FP16, and in INT8 in the scheme that a runtime takes.

Q/DQ pairs lie where `quantize.insert` puts them: at the input of every layer and pooling, and after
the last ReLU. Scales are kept within FP16 as in `quantize.quantizers`, which needs torch.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tmkd_deploy.export.fp16 import to_fp16
from tmkd_deploy.prove.images import striped
from tmkd_deploy.prove.network import OPSET, Network, tensors, to_onnx
from tmkd_deploy.records.onnx_model import QUANT_SCHEME
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.types import Precision

_CALIBRATION_IMAGES, _CALIBRATION_SEED = 64, 7
_FP16_SMALLEST, _FP16_SMALLEST_NORMAL = 2.0**-24, 2.0**-14
_LARGEST_PIXEL = 255.0
_RUN = "tmkd_deploy.proof_run"


def typed(
    network: Network, precision: Precision, scheme: QuantScheme, opset: int, run: str
) -> onnx.ModelProto:
    """The file that a runtime builds `precision` from.

    Args:
        network: the classifier.
        precision: of the engine.
        scheme: of the runtime.
        opset: `OPSET` for types in the file; an older one has FP32 outside of the Q/DQ pairs,
            and weights in floating point.
        run: a word that makes the file a new one, so that nothing is taken from a cache.
    """
    proto = to_onnx(network, opset)
    if precision == "int8":
        insert_pairs(proto, ranges(network), scheme, float_weights=opset < OPSET)
    strong = scheme is QuantScheme.S8 and opset >= OPSET
    if precision != "fp32" and strong:
        proto = to_fp16(proto)
    quantized = scheme.value if precision == "int8" else "none"
    helper.set_model_props(proto, {QUANT_SCHEME: quantized, _RUN: run})
    onnx.checker.check_model(proto, full_check=True)
    return proto


def ranges(network: Network) -> dict[str, float]:
    """The largest magnitude of each tensor that gets a Q/DQ pair."""
    names = [f"active{number + 1}" for number in range(len(network.convolutions))]
    images = striped(_CALIBRATION_IMAGES, network.side, _CALIBRATION_SEED)
    found = tensors(network, [*names, "pooled"], images)
    return {"active0": _LARGEST_PIXEL, **{name: float(found[name].max()) for name in found}}


def insert_pairs(
    proto: onnx.ModelProto, amax: dict[str, float], scheme: QuantScheme, *, float_weights: bool
) -> None:
    """Insert a Q/DQ pair after each tensor of `amax` and at each convolution's weight."""
    graph = proto.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    added: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "Conv":
            name = node.input[1]
            nodes += _weight_pair(name, constants[name], scheme, float_weights, added)
            node.input[1] = f"{name}_dq"
        for place, name in enumerate(node.input):
            if name in amax:
                node.input[place] = f"{name}_dq"
        nodes.append(node)
        for name in set(node.output) & amax.keys():
            nodes += _activation_pair(name, amax[name], scheme, added)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in added.items())


def kept_by_fp16(scales: np.ndarray) -> np.ndarray:
    """Scales of any shape, those below FP16's normal range rounded up to its numbers."""
    steps = np.maximum(np.ceil(scales / _FP16_SMALLEST), 1.0)
    kept: np.ndarray = np.where(scales < _FP16_SMALLEST_NORMAL, steps * _FP16_SMALLEST, scales)
    return kept.astype(np.float32)


def _activation_pair(
    name: str, amax: float, scheme: QuantScheme, added: dict[str, np.ndarray]
) -> list[onnx.NodeProto]:
    unsigned = scheme is QuantScheme.U8  # no tensor of this network is negative
    added[f"{name}_scale"] = kept_by_fp16(np.array(amax / (255.0 if unsigned else 127.0)))
    added[f"{name}_zero"] = np.array(0, np.uint8 if unsigned else np.int8)
    return _pair(name, [f"{name}_scale", f"{name}_zero"], {})


def _weight_pair(
    name: str,
    weight: np.ndarray,
    scheme: QuantScheme,
    float_weights: bool,
    added: dict[str, np.ndarray],
) -> list[onnx.NodeProto]:
    largest = scheme.largest_weight
    scales = kept_by_fp16(np.abs(weight).reshape(len(weight), -1).max(axis=1) / largest)
    zeros = np.zeros(len(weight), np.int8)
    added |= {f"{name}_scale": scales, f"{name}_zero": zeros}
    pair = _pair(name, [f"{name}_scale", f"{name}_zero"], {"axis": 0})
    if float_weights:
        return pair
    steps = (weight / scales.reshape(-1, 1, 1, 1)).round().clip(-largest, largest)
    added[f"{name}_q"] = steps.astype(np.int8)
    return pair[1:]


def _pair(name: str, grid: list[str], attributes: dict[str, int]) -> list[onnx.NodeProto]:
    q, dq = f"{name}_q", f"{name}_dq"
    return [
        helper.make_node("QuantizeLinear", [name, *grid], [q], q, **attributes),
        helper.make_node("DequantizeLinear", [q, *grid], [dq], dq, **attributes),
    ]
