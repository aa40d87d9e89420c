"""How an engine is opened."""

from __future__ import annotations

from typing import NamedTuple


class SessionOptions(NamedTuple):
    """The options of a session; a runtime ignores those that are not for it.

    Attributes:
        threads: of a CPU runtime, at least 1.
        precise_int8: ONNX Runtime's integer arithmetic that cannot saturate; None decides by the
            processor.
        dla_core: the core that runs a TensorRT engine built for the DLA; None runs it on the GPU.
    """

    threads: int = 1
    precise_int8: bool | None = None
    dla_core: int | None = None
