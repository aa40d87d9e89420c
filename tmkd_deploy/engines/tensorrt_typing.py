"""How each release of TensorRT is told which types to compute in.

TensorRT 8 (JetPack 5 and 6.0) chooses types itself, among those that flags allow. It reads ONNX up
to opset 17, in which scales are FP32, so everything that is not quantized is FP32 in its file, and
its flags let it take FP16. It does not read int8 weights: they stay floating point and are followed
by a QuantizeLinear.

TensorRT 10 keeps to the types in the file when it is told to, and TensorRT 11 always does. Their
file is typed FP16 outside the quantized layers.

Sources: NVIDIA/TensorRT, trtexec --help of 8.5.3, 8.6.1, 10.5 and 11.1; onnx-tensorrt,
docs/operators.md of 8.5 and 8.6 (opset 17); onnxruntime#11535 ("invalid weights type of Int8");
NVIDIA's guide to strong typing (weak typing is gone from 11, --stronglyTyped has no effect there).
"""

from __future__ import annotations

from typing import Literal

from tmkd_deploy.records.types import Precision

# The names that requests to a device and the files of a kit use.
Typing = Literal["strong", "flags"]

# The newest opset that TensorRT 8 reads, and the only one below 18 that is ever written.
FLAGS_OPSET = 17


def typing_of(release: str) -> Typing:
    """Which file a TensorRT such as '8.5.2' or '10.3' is given."""
    return "flags" if _major(release) < 10 else "strong"


def trtexec_flags(release: str, precision: Precision) -> list[str]:
    """The arguments by which trtexec of a release builds `precision` and does not run it."""
    if _major(release) < 10:
        # which layers are INT8 is decided by Q and DQ; the FP16 flag is for the others
        types = {"int8": ["--int8", "--fp16"], "fp16": ["--fp16"], "fp32": []}[precision]
    elif _major(release) == 10:
        types = ["--stronglyTyped"]
    else:
        types = []
    stop = "--buildOnly" if release.startswith("8.5") else "--skipInference"
    return [*types, stop]


def _major(release: str) -> int:
    return int(release.partition(".")[0])
