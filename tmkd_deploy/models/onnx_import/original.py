"""What a file itself computes, to compare a converted module with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tmkd_deploy.errors import DataError, MissingExtra
from tmkd_deploy.models.onnx_import.convert import Converted
from tmkd_deploy.records.types import Normalisation

Images = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]
_AT_ONCE = 16


def original(converted: Converted) -> Callable[[Images, Normalisation, bool], Scores]:
    """A function of images [N, H, W, 3], their mean and std, and whether blue comes first.

    It returns the file's output [N, C], by ONNX Runtime.

    Raises:
        MissingExtra: ONNX Runtime is not installed.
        DataError: ONNX Runtime refuses the file.
    """
    try:
        import onnxruntime  # noqa: PLC0415 - takes a second
    except ImportError as error:
        raise MissingExtra("An ONNX file", "train", "onnxruntime") from error
    file, head = converted.file, converted.head
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            file.content, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its errors have no common class
        raise _refused(converted, error) from error
    at_once = file.fixed_batch or _AT_ONCE

    def scores(images: Images, normalisation: Normalisation, bgr: bool) -> Scores:
        mean, std = (np.array(each, np.float32) for each in normalisation)
        parts = []
        for start in range(0, len(images), at_once):
            batch = (images[start : start + at_once].astype(np.float32) / 255 - mean) / std
            batch = batch[..., ::-1] if bgr else batch
            batch = batch if file.channels_last else batch.transpose(0, 3, 1, 2)
            try:
                (found,) = session.run(
                    [head.output], {file.input: np.ascontiguousarray(batch, np.float32)}
                )
            except Exception as error:
                raise _refused(converted, error) from error
            parts.append(np.asarray(found, np.float32))
        return np.concatenate(parts)

    return scores


def _refused(converted: Converted, error: Exception) -> DataError:
    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return DataError(
        f"ONNX Runtime cannot run the ONNX file: {first_line[:200]}",
        where=str(converted.file.path),
        advice="Export the model again.",
    )
