"""The layers of a built engine, and which of them left the DLA, from TensorRT's output."""

from __future__ import annotations

import json
import re
from typing import Any, Iterable

_LOGGED = re.compile(
    r"Name: (?P<name>.*?), LayerType: (?P<kind>\w+), "
    r"Inputs: \[(?P<inputs>.*?)\], (?:Constants|Outputs): "
)
_LOGGED_TYPE = re.compile(r"Datatype: ([^,}]+)")
# Up to TensorRT 8.6, and in some later releases, a type is a word within a description such as
# "Thirty-two wide channel vectorized row major Int8 format"; later "Int8", or "Int8 NC/32HW32".
# Seen in https://github.com/NVIDIA/TensorRT/issues/4020 and /issues/3737.
_TYPE = re.compile(r"\b(U?Int(?:4|8|32|64)|FP4|FP8|FP16|Half|BF(?:loat)?16|FP32|Float|Bool)\b")
_OTHER_NAMES = {"FP16": "Half", "FP32": "Float", "BFloat16": "BF16"}
# The messages of TensorRT 8.4 and later, then those of 8.0 and earlier. Seen in
# https://github.com/NVIDIA-AI-IOT/jetson_dla_tutorial/issues/3 and
# https://github.com/NVIDIA/TensorRT/issues/2318
_GPU_FALLBACK = re.compile(
    r"Layer '(?P<now>.+)' \(\w+\): Unsupported on DLA\. Switching"
    r"|Default DLA is enabled but layer (?P<then>.+) is not supported on DLA, falling back to GPU"
)


def from_log(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Name, kind and input types of each layer, from a builder's verbose log.

    Types are named Int8, Half, Float and so on, whatever the release calls them.

    The builder logs them at detailed profiling verbosity; no GPU is needed.
    """
    found = (_LOGGED.search(line) for line in lines)
    return [
        {
            "name": layer["name"],
            "kind": layer["kind"],
            "inputs": [_type_in(words) for words in _LOGGED_TYPE.findall(layer["inputs"])],
        }
        for layer in found
        if layer
    ]


def from_inspector(text: str) -> list[dict[str, Any]]:
    """The same from the engine inspector's JSON, which `trtexec --exportLayerInfo` also writes.

    An engine built without detailed verbosity lists only names: kind and inputs are then empty.

    Raises:
        ValueError: the text is not that JSON.
    """
    try:
        return _listed(json.loads(text)["Layers"])
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"this is no list of layers: {error}") from error


def _listed(layers: Iterable[Any]) -> list[dict[str, Any]]:
    return [
        {"name": layer, "kind": "", "inputs": []}
        if isinstance(layer, str)
        else {
            "name": str(layer.get("Name", "")),
            "kind": str(layer.get("LayerType", "")),
            "inputs": [_type_of(tensor) for tensor in layer.get("Inputs", [])],
        }
        for layer in layers
    ]


def _type_of(tensor: dict[str, Any]) -> str:
    """The type of a tensor; TensorRT 11 separates type and format, earlier releases join them."""
    joined = tensor.get("Format/Datatype", "")
    return _type_in(str(tensor.get("DataType") or tensor.get("Datatype") or joined))


def _type_in(words: str) -> str:
    """TensorRT's name of the type, such as Int8, Half or Float; the text itself if unknown."""
    found = _TYPE.search(words)
    return _OTHER_NAMES.get(found[1], found[1]) if found else words.strip()


def gpu_fallback_layers(lines: Iterable[str]) -> list[str]:
    """The layers that run on the GPU instead of the requested DLA, in the builder's order."""
    found = (_GPU_FALLBACK.search(line) for line in lines)
    names = (match["now"] or match["then"] for match in found if match)
    return list(dict.fromkeys(names))
