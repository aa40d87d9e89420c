"""How the compute types are specified for each TensorRT release.

TensorRT 8 (JetPack 5 and 6.0) chooses types itself, among those that flags allow. It supports ONNX
up to opset 17, where scales are FP32, so everything that is not quantized is FP32 in its file, and
flags allow FP16. It does not support int8 weights: they stay floating point and are followed by a
QuantizeLinear.

TensorRT 10 follows the types in the file with --stronglyTyped, TensorRT 11 always does. Their file
is FP16 outside the quantized layers.

Before TensorRT 11, a DLA is typed by flags, because that of 10 takes no strongly typed network, and
its INT8 scales come from a calibration cache (`dla_model`). 10.7 was the last 10.x with a DLA.

Sources: NVIDIA/TensorRT, trtexec --help of 8.5.3, 8.6.1, 10.5 and 11.1; onnx-tensorrt,
docs/operators.md of 8.5 and 8.6 (opset 17); onnxruntime#11535 ("invalid weights type of Int8");
NVIDIA's guide to strong typing (weak typing is gone from 11, --stronglyTyped has no effect there);
of the DLA: https://github.com/NVIDIA/TensorRT/issues/4228 and /issues/2222.
"""

from __future__ import annotations

from typing import Literal

from tmkd_deploy.records.types import Precision
from tmkd_deploy.targets.support import numbers

# as named in requests to a device and in the files of a kit
Typing = Literal["strong", "flags"]

# the newest opset that TensorRT 8 supports, and the only one below 18 that is ever written
FLAGS_OPSET = 17


def typing_of(release: str) -> Typing:
    """How types are specified for a TensorRT release such as '8.5.2' or '10.3'."""
    return "flags" if _major(release) < 10 else "strong"


def dla_needs_cache(release: str) -> bool:
    """Whether INT8 on the DLA of a release takes its scales from a cache, not from Q/DQ pairs."""
    return _major(release) < 11


def version_number(release: str) -> int:
    """A release as TensorRT prints it: 8502 for 8.5.2, 100300 for 10.3."""
    major, minor, patch = [*numbers(release), 0, 0][:3]
    return major * (10_000 if major >= 10 else 1000) + minor * 100 + patch


def trtexec_flags(release: str, precision: Precision, dla: bool = False) -> list[str]:
    """The trtexec arguments of a release to build `precision` without running the engine."""
    if _major(release) < 10 or (dla and _major(release) == 10):
        # Q and DQ decide which layers are INT8; the FP16 flag is for the others
        types = {"int8": ["--int8", "--fp16"], "fp16": ["--fp16"], "fp32": []}[precision]
    elif _major(release) == 10:
        types = ["--stronglyTyped"]
    else:
        types = []
    if precision == "fp32":
        types = [*types, "--noTF32"]
    stop = "--buildOnly" if release.startswith("8.5") else "--skipInference"
    return [*types, stop]


def _major(release: str) -> int:
    return numbers(release)[0]
