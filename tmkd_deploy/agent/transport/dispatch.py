"""Routes each request to the function that serves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from tmkd_deploy.agent.agent_errors import PROTOCOL_MISMATCH_ADVICE, REQUEST, AgentError

if TYPE_CHECKING:
    from tmkd_deploy.agent.transport.context import Context

_NEED_THE_LOCK = {
    *("build", "predict", "measure", "install", "remove_installed"),
    *("trtexec_times", "kit_build", "power_comparison", "foreign_engine", "cpp_run"),
}


def handle(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """The result of a request.

    Raises:
        AgentError: the request is unknown, needs the device's lock, or fails.
    """
    name = request.get("do")
    if not isinstance(name, str):
        raise AgentError(REQUEST, f"A request is named by a string, not {name!r}.")
    if name in _NEED_THE_LOCK and context.device_lock is None:
        raise AgentError(REQUEST, f"The request {name!r} needs the device's lock first.")
    handler = _handler(name)
    if handler is None:
        raise AgentError(
            REQUEST, f"This agent has no request {name!r}.", advice=PROTOCOL_MISMATCH_ADVICE
        )
    return handler(request, context)


def _handler(name: str) -> Callable[[dict[str, Any], Context], dict[str, Any]] | None:
    """The function that serves a request. Importing it only now keeps `probe` free of numpy."""
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
    elif name == "find_installed":
        from tmkd_deploy.agent.build.install_request import find_installed as handler
    elif name == "install":
        from tmkd_deploy.agent.build.install_request import install as handler
    elif name == "predict":
        from tmkd_deploy.agent.inference.predict_request import predict as handler
    elif name == "measure":
        from tmkd_deploy.agent.inference.measure_request import measure as handler
    else:
        return _proving_handler(name)
    return handler


def _proving_handler(name: str) -> Callable[[dict[str, Any], Context], dict[str, Any]] | None:
    if name == "board_files":
        from tmkd_deploy.agent.proving.board_files import board_files as handler
    elif name == "trtexec_times":
        from tmkd_deploy.agent.proving.trtexec_times import trtexec_times as handler
    elif name == "kit_build":
        from tmkd_deploy.agent.proving.kit_build import kit_build as handler
    elif name == "power_comparison":
        from tmkd_deploy.agent.proving.power_comparison import power_comparison as handler
    elif name == "foreign_engine":
        from tmkd_deploy.agent.proving.foreign_engine import foreign_engine as handler
    elif name == "remove_installed":
        from tmkd_deploy.agent.proving.remove_installed import remove_installed as handler
    elif name == "cpp_run":
        from tmkd_deploy.agent.proving.cpp_run import cpp_run as handler
    else:
        return None
    return handler
