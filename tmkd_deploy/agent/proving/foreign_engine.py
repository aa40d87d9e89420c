"""The `foreign_engine` request: open a copy of an engine whose manifest names another release."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from tmkd_deploy.agent.agent_errors import DATA, AgentError
from tmkd_deploy.agent.build import preflight
from tmkd_deploy.agent.inference import sessions
from tmkd_deploy.agent.transport.request_fields import field

if TYPE_CHECKING:
    from tmkd_deploy.agent.transport.context import Context

RELEASE = "7.0.0"  # no device has it: it cannot read our images


def foreign_engine(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """Open the copy.

    Returns:
        `refused`: the refusal, None if the engine was opened; `claimed`: the release of the
        manifest; `here`: that of this device.

    Raises:
        AgentError: `data`: the engine is missing, or has no manifest.
    """
    runtime = field(request, "runtime", str)
    engine = context.stored_file(field(request, "engine", str))
    sidecar = preflight.read_sidecar(engine)
    if sidecar is None:
        raise AgentError(DATA, "The engine has no manifest.", engine.name, "Build it again.")
    copy = context.scratch() / engine.name
    shutil.copyfile(str(engine), str(copy))
    sidecar["versions"]["runtime"] = RELEASE
    preflight.sidecar_of(copy).write_text(json.dumps(sidecar), encoding="utf-8")
    refused = None
    try:
        sessions.open_session(runtime, copy, 1, None)
    except AgentError as error:
        refused = error.problem
    return {"refused": refused, "claimed": RELEASE, "here": sessions.version(runtime)}
