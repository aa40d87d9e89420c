"""The layers of a TensorRT or TensorRT-RTX engine, as listed when it was built."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tmkd_deploy.errors import DataError
from tmkd_deploy.explain.graph import LayerNames
from tmkd_deploy.explain.interface import EngineLayer, EngineView

# generated kernels are named after their operations, such as __myl_MulMinMaxRounCast_myl0_4
_GENERATED = re.compile(r"^__myl_(?P<operations>\w+?)_myl\d+_\d+$")
_OPERATION = re.compile(r"[A-Z][a-z]*")
# quantization is a product, a rounding and two bounds; the others cast or move values
_CONVERTING = {"Mul", "Min", "Max", "Roun", "Cast", "Tran", "Resh", "Conc", "Move", "Copy", "Etc"}
_CONVERTING_KINDS = {"reformat", "noop", "constant", "shuffle", "signal", "wait", "shape_call"}
_TYPES = {"Int8": "int8", "UInt8": "int8", "Half": "fp16", "Float": "fp32"}
# by runtime: the origin of the list, and why it has no times
_SOURCES = {
    "tensorrt": (
        "TensorRT's engine inspector on the device",
        "Layer times are unknown because the device times whole engines; shares count layers.",
    ),
    "tensorrt_rtx": (
        "TensorRT-RTX's layer list in its builder log",
        "Layer times are unknown because the engine runs only on an RTX GPU; shares count layers.",
    ),
}


def view(layers: Path, names: LayerNames, runtime: str) -> EngineView:
    """The engine's layers as its runtime listed them, with each layer's input type.

    Generated kernels have no name in the user's model; they belong to the layer before them.

    Raises:
        DataError: the list cannot be read.
    """
    try:
        listed: list[dict[str, Any]] = json.loads(layers.read_text(encoding="utf-8"))
        found: list[EngineLayer] = []
        for entry in listed:
            own = names.of(entry["name"])
            found.append(
                EngineLayer(
                    name=entry["name"],
                    operator=entry["kind"],
                    computes_in=_computes_in(entry),
                    layer=own or (found[-1].layer if found else None),
                    time_share=None,
                )
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            "The list of the engine's layers cannot be read.",
            where=str(layers),
            advice="Rebuild the engine with: tmkd-deploy export --force",
        ) from error
    source, untimed = _SOURCES[runtime]
    return EngineView(source, found, untimed)


def _computes_in(entry: dict[str, Any]) -> str:
    generated = _GENERATED.match(entry["name"])
    if generated:
        operations = set(_OPERATION.findall(generated["operations"]))
        return "reformat" if operations <= _CONVERTING else "pointwise"
    kind = entry["kind"].lower()
    if kind in _CONVERTING_KINDS:
        return "reformat"
    if kind.startswith("pointwise"):
        return "pointwise"
    types = [_TYPES.get(each, "fp32") for each in entry["inputs"]]
    return next((each for each in ("int8", "fp16") if each in types), "fp32")
