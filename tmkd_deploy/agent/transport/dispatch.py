"""Requests from the host to the functions that serve them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from tmkd_deploy.agent.agent_errors import REQUEST, AgentError

if TYPE_CHECKING:
    from tmkd_deploy.agent.transport.context import Context

_NEED_THE_LOCK = {"build", "predict", "measure"}


def perform(request: dict[str, Any], work: Context) -> dict[str, Any]:
    """Do what a request asks for.

    Raises:
        AgentError: nobody knows how, it lacks the lock, or it fails.
    """
    name = request.get("do")
    handler = _handler(name)
    if handler is None:
        raise AgentError(
            REQUEST,
            f"This agent does not know the request {name!r}.",
            advice="Host and agent disagree; install the same tmkd-deploy again and report this.",
        )
    if name in _NEED_THE_LOCK and work.lock_file is None:
        raise AgentError(REQUEST, f"The request {name!r} needs the device's lock first.")
    return handler(request, work)


def _handler(name: object) -> Callable[[dict[str, Any], Context], dict[str, Any]] | None:
    """The function behind a request; its module is imported only now, which keeps `probe` light."""
    if name == "probe":
        from tmkd_deploy.agent.telemetry.device_probe import probe as handler
    elif name == "lock":
        from tmkd_deploy.agent.transport.device_lock import lock as handler
    elif name == "receive":
        from tmkd_deploy.agent.transport.transfer import receive as handler
    elif name == "fetch":
        from tmkd_deploy.agent.transport.transfer import fetch as handler
    elif name == "clean":
        from tmkd_deploy.agent.transport.transfer import clean as handler
    elif name == "build":
        from tmkd_deploy.agent.build.build_request import build as handler
    elif name == "predict":
        from tmkd_deploy.agent.inference.predict_request import predict as handler
    elif name == "measure":
        from tmkd_deploy.agent.inference.measure_request import measure as handler
    else:
        return None
    return handler
