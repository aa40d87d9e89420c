"""Which function answers which request. They are imported when asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tmkd_deploy.agent.errors import REQUEST, AgentError

if TYPE_CHECKING:
    from tmkd_deploy.agent.work import Work

_MODULES = {
    "probe": "probe",
    "lock": "lock",
    "receive": "transfer",
    "fetch": "transfer",
    "clean": "transfer",
    "build": "building",
    "predict": "predict",
    "measure": "measuring",
}
_NEED_THE_LOCK = {"build", "predict", "measure"}


def perform(request: dict[str, Any], work: Work) -> dict[str, Any]:
    """Do what a request asks for.

    Raises:
        AgentError: nobody knows how, it lacks the lock, or it fails.
    """
    name = request.get("do")
    if not isinstance(name, str) or name not in _MODULES:
        raise AgentError(
            REQUEST,
            f"This agent does not know the request {name!r}.",
            advice="Host and agent disagree; install the same tmkd-deploy again and report this.",
        )
    if name in _NEED_THE_LOCK and work.lock_file is None:
        raise AgentError(REQUEST, f"The request {name!r} needs the device's lock first.")
    module = importlib.import_module(f"tmkd_deploy.agent.{_MODULES[name]}")
    answer: dict[str, Any] = getattr(module, name)(request, work)
    return answer
