"""A CUDA graph: the work of one inference, recorded once and started by a single call.

Source: CUDA Runtime API reference, stream capture and graph management,
https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__GRAPH.html
"""

from __future__ import annotations

from collections.abc import Callable

from tmkd_deploy.runtime.cuda_runtime import Cuda


def capture(cuda: Cuda, stream: int, enqueue: Callable[[], None]) -> int:
    """Record what `enqueue` puts into the stream, without running it; returns the graph.

    Raises:
        EngineError: CUDA or the engine does not allow it; the stream can be used as before.
    """
    cuda.begin_capture(stream)
    try:
        enqueue()
    except BaseException:
        cuda.abandon_capture(stream)
        raise
    return cuda.graph(stream)
