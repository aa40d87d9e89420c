"""Export a torch classifier to an ONNX graph that takes raw pixels."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from tmkd_deploy.errors import EnvironmentProblem, RequestError
from tmkd_deploy.export.excluded_layers import keep_in_float
from tmkd_deploy.export.modules import remember_modules
from tmkd_deploy.export.older_opset import OLDEST_EXPORTED, lowered
from tmkd_deploy.export.pixels import bypass_pixel_arithmetic
from tmkd_deploy.export.unused_constants import drop_unused_constants
from tmkd_deploy.models.classifier import Classifier
from tmkd_deploy.quantize.insert import freeze_weight_scales
from tmkd_deploy.quiet import quiet
from tmkd_deploy.records.onnx_model import INPUT, OUTPUT
from tmkd_deploy.records.types import ImageSize, height_and_width


class _PixelsToLogits(nn.Module):
    """Maps raw pixels [N, H, W, 3] to logits; 1/255 is folded into the normalisation."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = copy.deepcopy(classifier)
        self.classifier.scale /= 255.0

    def forward(self, images: Tensor) -> Tensor:
        # TensorRT cannot transpose uint8, so the cast comes first; without contiguous(), the
        # exporter writes what follows as index arithmetic
        pixels = images.float().permute(0, 3, 1, 2).contiguous()
        logits: Tensor = self.classifier(pixels)[0]
        return logits


def to_onnx(
    classifier: Classifier, image_size: ImageSize, opset: int, float_weights: bool = False
) -> onnx.ModelProto:
    """Export a classifier, fake quantizers included, with a dynamic batch.

    Input `images`: uint8 [N, H, W, 3], RGB. Output `logits`: float32 [N, C].
    With `float_weights`, quantized weights are stored in float32, followed by a QuantizeLinear.

    Raises:
        RequestError: torch cannot export this network, or not in so old an opset.
        EnvironmentProblem: the exporter wrote another opset than requested.
    """
    model = _PixelsToLogits(classifier.cpu()).eval().to(memory_format=torch.contiguous_format)
    freeze_weight_scales(model)
    example = torch.zeros(2, *height_and_width(image_size), 3, dtype=torch.uint8)
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                model,
                (example,),
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=max(opset, OLDEST_EXPORTED),
                dynamic_shapes={"images": {0: torch.export.Dim("N", min=1, max=4096)}},
                dynamo=True,
                optimize=True,
                verbose=False,
            )
    except Exception as error:  # the exporter wraps errors in its own classes
        raise RequestError(
            f"torch could not export the student to ONNX: {_first_line(error)}",
            advice="Choose another student, or report the model to the torch project.",
        ) from error
    if program is None:
        raise AssertionError("the dynamo exporter returned no program")
    proto = program.model_proto
    bypass_pixel_arithmetic(proto)
    if not float_weights:
        _constants_to_integers(proto)
    keep_in_float(proto)
    remember_modules(proto)
    if opset < OLDEST_EXPORTED:
        return lowered(proto, opset)
    written = {entry.domain: entry.version for entry in proto.opset_import}
    if written.get("") != opset:
        raise EnvironmentProblem(
            f"The exporter wrote opset {written.get('')}, but {opset} was requested.",
            advice="Set export.opset to a version that this torch supports.",
        )
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _constants_to_integers(proto: onnx.ModelProto) -> None:
    """Store quantized constants as integers, as runtimes expect, at a quarter of the size.

    These are weights and occasionally an added or multiplied parameter, which is rounded like an
    activation.
    """
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in list(proto.graph.node):
        if node.op_type != "QuantizeLinear" or node.input[0] not in constants:
            continue
        values, scale, zero_point = (
            numpy_helper.to_array(constants[name]) for name in node.input[:3]
        )
        if scale.ndim:  # one per output channel
            shape = [-1] + [1] * (values.ndim - 1)
            scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
        # torch's fake quantization multiplies by the inverse too
        steps = (values * (1.0 / scale).astype("float32")).round() + zero_point.astype("float32")
        limits = np.iinfo(zero_point.dtype)
        integers = steps.clip(limits.min, limits.max).astype(zero_point.dtype)
        proto.graph.initializer.append(numpy_helper.from_array(integers, node.output[0]))
        proto.graph.node.remove(node)
    _own_zero_points(proto)
    drop_unused_constants(proto.graph)
    del proto.graph.value_info[:]


def _own_zero_points(proto: onnx.ModelProto) -> None:
    """Give each weight its own zero point.

    To avoid saturation, ONNX Runtime rewrites each weight together with its zero point, and rejects
    models in which two weights share one.
    """
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            own = onnx.TensorProto()
            own.CopyFrom(constants[node.input[2]])
            own.name = f"{node.input[0]}_zero_point"
            node.input[2] = own.name
            proto.graph.initializer.append(own)


def count_quantized(proto: onnx.ModelProto) -> dict[str, int]:
    """The numbers of Q and DQ nodes and of int8 weights in a graph."""
    kinds = [node.op_type for node in proto.graph.node]
    return {
        "quantize_linear": kinds.count("QuantizeLinear"),
        "dequantize_linear": kinds.count("DequantizeLinear"),
        "int8_weights": sum(
            tensor.data_type == TensorProto.INT8 and len(tensor.dims) > 1
            for tensor in proto.graph.initializer
        ),
    }


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
