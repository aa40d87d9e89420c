"""OpenVINO on the CPU, opened identically for measurements and applications."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tmkd_deploy.runtime.engine_errors import (
    EngineError,
    NoClassifierError,
    RejectedEngineError,
)
from tmkd_deploy.runtime.onnx_check import refuse_endless, refuse_unsafe, view_of
from tmkd_deploy.runtime.onnx_metadata import PRECISION, metadata_of
from tmkd_deploy.runtime.onnxruntime_session import has_bf16

if TYPE_CHECKING:
    import numpy as np
    import openvino

    from tmkd_deploy.runtime.session_options import SessionOptions

_WITHOUT_NEWS = (
    *("Exception from", "Check '", "FrontEnd API", "Errors during", "Model wasn't", "Summary:"),
    "To facilitate the conversion",
)
# as newer and older releases put it
_UNKNOWN_OPERATOR = ("No conversion rule", "OpenVINO does not support the following")
_LONGEST_MESSAGE = 1000


def open_session(runtime: str, engine: bytes | Path, options: SessionOptions) -> OpenVinoSession:
    """Open an ONNX model; see `runtimes.open_session`."""
    model = engine if isinstance(engine, bytes) else str(engine)
    refuse_unsafe(model)
    refuse_endless(model)
    try:
        return OpenVinoSession(compile_model(model, threads=options.threads))
    except (ImportError, EngineError):
        raise
    except Exception as error:  # some of OpenVINO's errors derive directly from Exception
        raise RejectedEngineError(
            f"OpenVINO {version(runtime)} rejects the model: {words(error)}",
            "Check that this version of OpenVINO supports the model's opset and operators.",
        ) from error


def version(runtime: str) -> str:
    """The installed version, such as 2026.4.1.

    Raises:
        ImportError: OpenVINO is not installed.
    """
    import openvino  # noqa: PLC0415 - optional dependency

    # the build's number and branch follow
    return str(openvino.__version__).partition("-")[0]


class OpenVinoSession:
    """An engine as `runtimes.Session` describes it.

    Threads take turns: with one stream, OpenVINO runs one image at a time anyway.

    Raises:
        NoClassifierError: its input and output are not images and logits.
    """

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        ends = [*compiled.inputs, *compiled.outputs]
        kinds = [end.element_type.get_type_name() for end in ends]
        found = " and ".join(f"{kind} {end.partial_shape}" for kind, end in zip(kinds, ends))
        one_each = (len(compiled.inputs), len(compiled.outputs)) == (1, 1)
        # the type of the logits is left to those who judge them
        if not one_each or kinds[0] != "u8" or any(end.partial_shape.is_dynamic for end in ends):
            raise NoClassifierError(found or "neither")
        images, logits = (list(end.shape) for end in ends)
        if len(images) != 4 or images[::3] != [1, 3] or len(logits) != 2:
            raise NoClassifierError(found)
        self.input_shape: tuple[int, int, int] = (images[1], images[2], images[3])
        self.classes: int = logits[1]
        self._lock = threading.Lock()
        self._request = compiled.create_infer_request()

    def infer(self, images: np.ndarray) -> np.ndarray:
        """Raw pixels, uint8 [N, H, W, 3], to logits [N, C]."""
        import numpy as np  # noqa: PLC0415 - probing a device must not need it

        try:
            if len(images) == 1:
                return self._run(images)
            return np.concatenate([self._run(images[at : at + 1]) for at in range(len(images))])
        except Exception as error:  # as above
            raise EngineError(f"The engine fails: {words(error)}") from error

    def close(self) -> None:
        """Release the request, which frees its memory."""
        del self._request

    def _run(self, image: np.ndarray) -> np.ndarray:
        with self._lock:
            # the input is read where it lies; the output is a copy, because the next run reuses it
            found: np.ndarray = self._request.infer([image], share_inputs=True)[0]
            return found


def compile_model(
    model: bytes | str, *, threads: int, timed: bool = False
) -> openvino.CompiledModel:
    """Compile an ONNX model, which is taken to be safe, for images one by one on this CPU.

    If its metadata say that its engine is BF16, layers compute in that where the processor can, and
    in FP32 elsewhere.

    Args:
        model: the model's bytes, or the path of its file.
        threads: threads within an operator, at least 1.
        timed: record how long each layer takes.

    Raises:
        ImportError: OpenVINO is not installed.
        ValueError: the model's metadata cannot be read.
    """
    import openvino  # noqa: PLC0415 - optional dependency
    from openvino.frontend import FrontEndManager  # noqa: PLC0415

    # named, because OpenVINO would guess the format, and only ONNX files were checked
    reader = FrontEndManager().load_by_framework("onnx")
    graph = reader.convert(reader.load(io.BytesIO(model) if isinstance(model, bytes) else model))
    shapes = [entry.partial_shape for entry in graph.inputs]
    if len(shapes) == 1 and shapes[0].rank == 4 and shapes[0][0].is_dynamic:
        # prepared for a batch of any size, an engine takes longer for an image
        graph.reshape([1, *list(shapes[0])[1:]])
    # where the processor cannot, OpenVINO may still round to it, which only takes time
    in_bf16 = metadata_of(view_of(model)).get(PRECISION) == "bf16" and has_bf16()
    properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        # by default, processors with BF16 or FP16 arithmetic round FP32 engines to it
        "INFERENCE_PRECISION_HINT": "bf16" if in_bf16 else "f32",
        # several applications would pin their threads to the same cores
        "ENABLE_CPU_PINNING": False,
        "PERF_COUNT": timed,
    }
    return openvino.Core().compile_model(graph, "CPU", properties)


def words(error: Exception) -> str:
    """What OpenVINO says of an error, on one line and without the places in its source.

    If it does not know an operator, all else that it says follows from that.
    """
    lines = [line.strip(" -") for line in str(error).splitlines()]
    told = [line for line in lines if line.startswith(_UNKNOWN_OPERATOR)] or [
        line for line in lines if line and not line.startswith(_WITHOUT_NEWS)
    ]
    return " ".join(told)[:_LONGEST_MESSAGE] or type(error).__name__
