"""Open an engine on this machine as an application would, with errors that name its file."""

from __future__ import annotations

from pathlib import Path

from tmkd_deploy.errors import DataError, EnvironmentProblem, MissingExtra
from tmkd_deploy.records.types import RuntimeName
from tmkd_deploy.runtime import runtimes
from tmkd_deploy.runtime.engine_errors import EngineError
from tmkd_deploy.runtime.onnx_check import UnsafeModelError
from tmkd_deploy.runtime.session_options import SessionOptions


def open_engine(runtime: RuntimeName, engine: Path, options: SessionOptions) -> runtimes.Session:
    """Load an engine.

    Raises:
        MissingExtra: the runtime is not installed.
        DataError: the engine is an ONNX model that is not safe to run.
        EnvironmentProblem: the runtime rejects the engine.
    """
    try:
        return runtimes.open_session(runtime, engine, options)
    except ImportError as error:
        extra = runtime.replace("_", "-")
        raise MissingExtra("Running this engine", extra, error.name or runtime) from error
    except UnsafeModelError as error:
        raise DataError(
            f"This engine {error.what}, so it is not run.",
            where=str(engine),
            advice="Use an engine that tmkd-deploy built, or choose another student.",
        ) from error
    except EngineError as error:
        raise EnvironmentProblem(error.problem, where=str(engine), advice=error.advice) from error
