"""Claims about TensorRT's engines for the GPU: how they are built and what they compute in."""

from __future__ import annotations

import numpy as np

from tmkd_deploy.engines.int8_layers import count_int8
from tmkd_deploy.prove.built import Built
from tmkd_deploy.prove.checks.decisions import expect_same_decisions
from tmkd_deploy.prove.checks.devices import require_tensorrt
from tmkd_deploy.prove.outcome import Evidence, NotRun, expect, require
from tmkd_deploy.prove.workbench import Workbench
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.targets.target_profile import PRECISIONS

# a build that reuses kernel timings takes well below this share of one that does not
_LESS_TIME = 0.8


def build(bench: Workbench, evidence: Evidence) -> None:
    """TensorRT's module builds three engines, with the typing of its release."""
    require_tensorrt(bench)
    evidence.add(release=bench.release, typing_expected=bench.typing)
    for precision in PRECISIONS["tensorrt"]:
        built = bench.tensorrt(precision)
        typing = built.details.get("typing")
        evidence.add(
            **{
                f"{precision}_typing": str(typing),
                f"{precision}_build_seconds": _seconds(built),
                f"{precision}_layers": len(built.layers),
                f"{precision}_sha256": built.engine,
            }
        )
        evidence.quote(_telling(built.log))
        expect(not built.reused, f"The {precision.upper()} engine came from a cache.")
        expect(built.details.get("command") is None, "The builder was trtexec, not the module.")
        failed = built.details.get("strong_typing_failed") is not None
        expect(
            typing == ("flags" if failed else bench.typing),
            f"The {precision.upper()} engine has the typing {typing}, not {bench.typing}.",
        )


def same_decisions(bench: Workbench, evidence: Evidence) -> None:
    """Each engine decides as its ONNX file."""
    require_tensorrt(bench)
    for precision in PRECISIONS["tensorrt"]:
        expect_same_decisions(bench, evidence, bench.tensorrt(precision), precision)


def int8_layers(bench: Workbench, evidence: Evidence) -> None:
    """As many layers compute in INT8 as were quantized."""
    require_tensorrt(bench)
    built = bench.tensorrt("int8")
    found, weighted = count_int8(built.layers)
    quantized = _quantized_layers(built)
    evidence.add(int8_layers=found, weighted_layers=weighted, quantized_layers=quantized)
    evidence.quote(
        f"{layer['kind']} {layer['name']}: {', '.join(layer['inputs'])}" for layer in built.layers
    )
    expect(bool(built.layers), "The engine inspector lists no layers.")
    expect(found == quantized, f"{found} layers compute in INT8, and {quantized} were quantized.")


def fp16_scale_floor(bench: Workbench, evidence: Evidence) -> None:
    """Channels without weights, or with tiny ones, have scales that TensorRT accepts."""
    require_tensorrt(bench)
    require(bench.typing == "strong", f"The files for TensorRT {bench.release} have FP32 scales.")
    built = bench.tensorrt("int8")
    require(
        built.details.get("typing") == "strong",
        "The INT8 engine was built with flags, after strong typing failed.",
    )
    kinds, smallest = _smallest_scale(built)
    evidence.add(scale_types=list(kinds), smallest_scale=smallest)
    expect(smallest > 0.0, "A scale is zero.")
    expect_same_decisions(bench, evidence, built, "int8")


def timing_cache(bench: Workbench, evidence: Evidence) -> None:
    """A build after another of the same layers takes less time."""
    require_tensorrt(bench)
    # layers that no earlier proof had, whose timings the device may still hold
    width = 33 + bench.seed % 64
    seconds = []
    for _ in range(2):
        model = bench.model("fp16", QuantScheme.S8, bench.typing, width=width)
        built = bench.build("fp16", model)
        expect(not built.reused, "The engine itself came from a cache.")
        seconds.append(_seconds(built))
    first, second = seconds
    evidence.add(first_build_seconds=first, second_build_seconds=second, channels=width)
    evidence.quote(line for line in built.log if "timing cache" in line.lower())
    if first is None or second is None:
        raise NotRun("The device does not say how long its builds took.")
    expect(second < first, "The second build took no less time.")
    require(
        second <= _LESS_TIME * first,
        f"The second build took {second:g} s after {first:g} s, which is no clear difference.",
    )


def flags_after_myelin(bench: Workbench, evidence: Evidence) -> None:
    """Where TensorRT's compiler fails on INT8 with strong typing, flags build it."""
    require_tensorrt(bench)
    built = bench.tensorrt("int8")
    failed = built.details.get("strong_typing_failed")
    typing = built.details.get("typing")
    evidence.add(release=bench.release, typing=str(typing))
    if failed is None:
        raise NotRun("TensorRT's compiler did not fail on the INT8 engine of this device.")
    evidence.quote([str(failed)])
    expect(typing == "flags", f"The INT8 engine was then built with the typing {typing}.")
    expect_same_decisions(bench, evidence, built, "int8")


def other_device(bench: Workbench, evidence: Evidence) -> None:
    """An engine whose manifest names another release is refused, and both are named."""
    require_tensorrt(bench)
    engine = bench.tensorrt("fp32")
    answer = bench.device.request("foreign_engine", runtime=engine.runtime, engine=engine.engine)
    refused = answer["refused"]
    evidence.add(claimed=answer["claimed"], here=answer["here"])
    evidence.quote([] if refused is None else [refused])
    expect(refused is not None, "The engine was opened.")
    both = answer["claimed"] in refused and answer["here"] in refused
    expect(both, "The refusal does not name both releases.")


def _quantized_layers(built: Built) -> int:
    import onnx  # noqa: PLC0415 - needed only by builders

    return sum(node.op_type == "Conv" for node in onnx.load(str(built.model)).graph.node)


def _smallest_scale(built: Built) -> tuple[list[str], float]:
    """The types of the scales in an engine's file, and the smallest one."""
    import onnx  # noqa: PLC0415 - needed only by builders
    from onnx import numpy_helper  # noqa: PLC0415

    graph = onnx.load(str(built.model)).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    scales = [
        numpy_helper.to_array(constants[node.input[1]])
        for node in graph.node
        if node.op_type == "DequantizeLinear"
    ]
    smallest = min(float(np.min(each)) for each in scales)
    return sorted({str(each.dtype) for each in scales}), smallest


def _seconds(built: Built) -> float | None:
    found = built.details.get("seconds")
    return float(found) if isinstance(found, int | float) else None


def _telling(log: list[str]) -> list[str]:
    """The lines of a builder's log that say what came of it, the last two of them."""
    words = ("Engine generation completed", "[GraphReduction]", "Total Weights Memory")
    return [line for line in log if any(word in line for word in words)][-2:]
