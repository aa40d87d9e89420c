"""Opening an engine with any runtime, once its manifest shows that it can run here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tmkd_deploy.agent.agent_errors import REQUEST, AgentError, engine_errors_translated
from tmkd_deploy.agent.build import preflight
from tmkd_deploy.runtime import runtimes
from tmkd_deploy.runtime.cuda_runtime import Cuda
from tmkd_deploy.runtime.session_options import SessionOptions

if TYPE_CHECKING:
    from tmkd_deploy.runtime.runtimes import Session


def open_session(runtime: str, engine: Path, threads: int, precise_int8: bool | None) -> Session:
    """Load an engine. `threads` and `precise_int8` affect CPU runtimes only.

    Raises:
        AgentError: `request`: the runtime is unknown; `environment`: the engine was built for
            another GPU or release (known before loading if it has a manifest), or the runtime
            rejects it; `data`: its manifest is damaged, or the model is not safe to run;
            `out_of_memory`: it does not fit.
        ImportError: the runtime is not installed.
    """
    _require_known(runtime)
    dla_core = None
    with engine_errors_translated():
        tied = runtimes.RUNTIMES[runtime].machine is not None
        sidecar = preflight.read_sidecar(engine) if tied else None
        if sidecar is not None:
            here = preflight.CurrentDevice(version(runtime), f"SM{Cuda().compute_capability()}")
            preflight.require_compatible(sidecar, here)
            dla_core = sidecar["dla"]["core"]
        options = SessionOptions(threads, precise_int8, dla_core)
        return runtimes.open_session(runtime, engine, options)


def version(runtime: str) -> str:
    """The version of an installed runtime; errors as `open_session`."""
    _require_known(runtime)
    return runtimes.RUNTIMES[runtime].version(runtime)


def _require_known(runtime: str) -> None:
    if runtime not in runtimes.RUNTIMES:
        raise AgentError(REQUEST, f"This agent does not support the runtime {runtime!r}.")
