"""The requests that keep an engine for applications on this device: `find_installed`, `install`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tmkd_deploy.agent.agent_errors import REQUEST, AgentError, engine_errors_translated
from tmkd_deploy.agent.transport.request_fields import field, optional
from tmkd_deploy.runtime import installed_engines
from tmkd_deploy.runtime.installed_engines import BuildKey
from tmkd_deploy.runtime.runtimes import RUNTIMES

if TYPE_CHECKING:
    from tmkd_deploy.agent.transport.context import Context
    from tmkd_deploy.runtime.engine_machine import EngineMachine


def find_installed(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """What engines are tied to here, and whether this one is installed.

    Returns:
        `release` and `compute_capability`; `path` of the engine, None if it is not installed.

    Raises:
        AgentError: `request`: the runtime's engines are tied to nothing; `environment`: the runtime
            does not start, or others can write the folder of installed engines.
        ImportError: the runtime is not installed.
    """
    with engine_errors_translated():
        key, machine = key_of(request), machine_of(request)
        found = installed_engines.find(key, machine) is not None
    return {
        **machine._asdict(),
        "path": str(installed_engines.path_of(key, machine)) if found else None,
    }


def install(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """Keep an engine from the store for applications; errors as `find_installed`.

    Raises:
        AgentError: `data`: the engine is not in the store.
    """
    engine = context.stored_file(field(request, "engine", str))
    with engine_errors_translated():
        key, machine = key_of(request), machine_of(request)
        about = {"bundle": field(request, "bundle", str)}
        path = installed_engines.keep(key, machine, engine.read_bytes(), about)
    return {"path": str(path)}


def key_of(request: dict[str, Any]) -> BuildKey:
    """What the request's engine is built from, and how."""
    return BuildKey(
        runtime=field(request, "runtime", str),
        onnx_sha256=field(request, "onnx_sha256", str),
        precision=field(request, "precision", str),
        typing=field(request, "typing", str),
        workspace_mb=optional(request, "workspace_mb", int),
        dla_core=optional(request, "dla_core", int),
    )


def machine_of(request: dict[str, Any]) -> EngineMachine:
    """What engines of the request's runtime are tied to here; errors as `find_installed`."""
    name = field(request, "runtime", str)
    runtime = RUNTIMES.get(name)
    if runtime is None or runtime.machine is None:
        raise AgentError(REQUEST, f"Engines of {name!r} need not be installed.")
    return runtime.machine(name)
