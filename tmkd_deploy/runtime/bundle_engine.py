"""The engine of a bundle."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from tmkd_deploy.runtime import runtimes
from tmkd_deploy.runtime.archive import Contents, broken
from tmkd_deploy.runtime.bundle_errors import RuntimeMissingError
from tmkd_deploy.runtime.engine_errors import (
    EngineError,
    NoClassifierError,
    RuntimeUnusableError,
)
from tmkd_deploy.runtime.onnx_check import UnsafeModelError
from tmkd_deploy.runtime.session_options import SessionOptions


class Engine:
    """A session that maps raw pixels to logits; safe to share between threads."""

    def __init__(self, contents: Contents, session: runtimes.Session) -> None:
        manifest = contents.manifest
        self._path = contents.path
        self._session = session
        self._classes = len(manifest.class_names)
        if (session.input_shape, session.classes) != (
            (manifest.height, manifest.width, 3),
            self._classes,
        ):
            raise _other_ends(contents)

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
        try:
            logits = self._session.infer(images)
        except EngineError as error:
            raise broken(self._path, f"its engine fails ({_within(error.problem)})") from error
        # what a model declares is not always what it returns
        if logits.shape != (len(images), self._classes) or logits.dtype != np.float32:
            raise broken(
                self._path,
                f"its engine returns {logits.dtype} in an array of shape {list(logits.shape)} for "
                f"{len(images)} {'image' if len(images) == 1 else 'images'} and {self._classes} "
                "classes",
            )
        if not np.isfinite(logits).all():
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
        runtime = runtimes.RUNTIMES.get(manifest.runtime)
        needs = runtime.title if runtime else f"the runtime {manifest.runtime!r}"
        raise RuntimeMissingError(
            f"This bundle needs {needs}, but this version of tmkd-deploy runs ONNX Runtime bundles "
            "only.",
            where=str(contents.path),
            advice="Run its engine with that runtime's own tools, or use the bundle of a target "
            "that runs on ONNX Runtime, such as 'cpu'.",
        )
    available = _available_cores()
    options = SessionOptions(threads or min(manifest.threads or available, available))
    return Engine(contents, _open(contents, options))


def _open(contents: Contents, options: SessionOptions) -> runtimes.Session:
    manifest = contents.manifest
    runtime = runtimes.RUNTIMES[manifest.runtime]
    try:
        return runtimes.open_session(manifest.runtime, contents.members[manifest.engine], options)
    except ImportError as error:
        raise RuntimeMissingError(
            f"This bundle needs {runtime.title}, which cannot be imported here ({error}).",
            where=str(contents.path),
            advice=f"Install it with: {runtime.install}",
        ) from error
    except UnsafeModelError as error:
        raise broken(contents.path, f"its engine {error.what}") from error
    except RuntimeUnusableError as error:
        raise RuntimeMissingError(
            error.problem, where=str(contents.path), advice=error.advice
        ) from error
    except NoClassifierError as error:
        raise _other_ends(contents) from error
    except EngineError as error:
        what = f"{runtime.title} cannot open its engine ({_within(error.problem)})"
        raise broken(contents.path, what) from error


def _other_ends(contents: Contents) -> Exception:
    return broken(contents.path, "its engine's input and output do not match its manifest")


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _within(problem: str) -> str:
    """A sentence as part of another one."""
    return problem.removesuffix(".")
