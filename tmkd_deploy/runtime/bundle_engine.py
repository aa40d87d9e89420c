"""The engine of a bundle."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from tmkd_deploy.runtime.archive import Contents, broken
from tmkd_deploy.runtime.bundle_errors import RuntimeMissingError
from tmkd_deploy.runtime.onnx_check import UnsafeModelError
from tmkd_deploy.runtime.onnxruntime_session import create_session

_NEEDS = {
    "tensorrt_rtx": "TensorRT-RTX on an NVIDIA RTX GPU",
    "tensorrt": "TensorRT on an NVIDIA GPU",
}


class Engine:
    """An ONNX Runtime session that maps raw pixels to logits; safe to share between threads."""

    def __init__(self, contents: Contents, *, threads: int) -> None:
        manifest = contents.manifest
        self._path = contents.path
        try:
            self._session = create_session(contents.members[manifest.engine], threads=threads)
        except ImportError as error:
            raise RuntimeMissingError(
                f"This bundle needs ONNX Runtime, which cannot be imported here ({error}).",
                where=str(contents.path),
                advice="Install it with: pip install 'tmkd-deploy[onnxruntime]'",
            ) from error
        except UnsafeModelError as error:
            raise broken(contents.path, f"its engine {error.what}") from error
        except Exception as error:  # ONNX Runtime's errors derive directly from Exception
            raise broken(
                contents.path, f"ONNX Runtime cannot open its engine ({_first_line(error)})"
            ) from error
        try:
            self._match(contents)
        except UnicodeDecodeError as error:  # ONNX Runtime decodes names when they are asked for
            raise broken(contents.path, "a name in its engine is not valid UTF-8") from error

    def _match(self, contents: Contents) -> None:
        """Compare the session's input and output with the manifest, and remember their names."""
        manifest = contents.manifest
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        pixels = [manifest.height, manifest.width, 3]
        fits = (
            [node.type for node in (*inputs, *outputs)] == ["tensor(uint8)", "tensor(float)"]
            and inputs[0].shape[1:] == pixels
            and (inputs[0].shape[0] == 1 or not isinstance(inputs[0].shape[0], int))
            and outputs[0].shape[1:] == [len(manifest.class_names)]
        )
        if not fits:
            raise broken(contents.path, "its engine's input and output do not match its manifest")
        self._input, self._output = inputs[0].name, outputs[0].name
        self._one_by_one = inputs[0].shape[0] == 1
        self._classes = len(manifest.class_names)

    def logits(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Compute finite logits.

        Args:
            images: raw RGB pixels, uint8 [n, height, width, 3], n >= 1.

        Returns:
            float32 [n, classes].

        Raises:
            BundleError: the engine fails, or returns logits of another shape or that are not
                finite.
        """
        step = 1 if self._one_by_one else len(images)
        try:
            parts = [
                self._session.run([self._output], {self._input: images[start : start + step]})[0]
                for start in range(0, len(images), step)
            ]
        except Exception as error:  # as above
            raise broken(self._path, f"its engine fails ({_first_line(error)})") from error
        # what a model declares is not always what it returns
        if [part.shape for part in parts] != [(step, self._classes)] * (len(images) // step):
            raise broken(
                self._path,
                f"its engine returns an array of shape {list(parts[0].shape)} for {step} "
                f"{'image' if step == 1 else 'images'} and {self._classes} classes",
            )
        logits: npt.NDArray[np.float32] = np.concatenate(parts)
        if logits.dtype != np.float32 or not np.isfinite(logits).all():
            raise broken(self._path, "its engine returns logits that are not finite")
        return logits


def open_engine(contents: Contents, *, threads: int | None = None) -> Engine:
    """Open the engine of a bundle.

    Args:
        contents: the checked bundle.
        threads: as for `load`.

    Raises:
        RuntimeMissingError: this machine or this version of tmkd-deploy cannot run the engine.
        BundleError: the engine cannot be opened or does not match the manifest.
    """
    manifest = contents.manifest
    if manifest.runtime != "onnxruntime":
        needs = _NEEDS.get(manifest.runtime, f"the runtime {manifest.runtime!r}")
        raise RuntimeMissingError(
            f"This bundle needs {needs}, but this version of tmkd-deploy runs ONNX Runtime bundles "
            "only.",
            where=str(contents.path),
            advice="Run its engine with that runtime's own tools, or use the bundle of a target "
            "that runs on ONNX Runtime, such as 'cpu'.",
        )
    available = _available_cores()
    return Engine(contents, threads=threads or min(manifest.threads or available, available))


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
