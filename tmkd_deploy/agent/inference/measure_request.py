"""The `measure` request: times engines on this device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tmkd_deploy.agent.agent_errors import REQUEST, AgentError
from tmkd_deploy.agent.inference import sessions
from tmkd_deploy.agent.inference.predict_request import read_images
from tmkd_deploy.agent.inference.timing import Settings, time_interleaved
from tmkd_deploy.agent.telemetry.system_monitor import SystemMonitor
from tmkd_deploy.agent.transport.request_fields import field, objects, optional

if TYPE_CHECKING:
    from tmkd_deploy.agent.transport.context import Context


_LONGEST_SECONDS = 86_400


def measure(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """Time the engines of a request in turns; the result is never cached.

    Returns:
        As `time_interleaved`.

    Raises:
        AgentError: `request`: there is no engine, or two share a name; `data`: a file is missing,
            or is not an array of images; otherwise as `open_session`.
        ImportError: a runtime or numpy is not installed.
    """
    settings = field(request, "settings", dict)
    engines = objects(request, "engines")
    names = [field(engine, "name", str) for engine in engines]
    if not names or len(set(names)) < len(names):
        raise AgentError(REQUEST, "The request needs at least one engine, each with a unique name.")
    images = read_images(context.stored_file(field(request, "images", str)))
    opened = {
        name: sessions.open_session(
            field(engine, "runtime", str),
            context.stored_file(field(engine, "engine", str)),
            field(settings, "threads", int),
            optional(engine, "precise_int8", bool),
        )
        for name, engine in zip(names, engines)
    }
    return time_interleaved(
        opened,
        images,
        Settings(
            warmup_seconds=_seconds(settings, "warmup_seconds"),
            min_runs=field(settings, "min_runs", int),
            min_seconds=_seconds(settings, "min_seconds"),
        ),
        context.writer,
        SystemMonitor(children=context.children),
    )


def _seconds(settings: dict[str, Any], name: str) -> float:
    # JSON writers other than Python's may write 1.0 as 1
    kind = int if isinstance(settings.get(name), int) else float
    value: int | float = field(settings, name, kind)
    if not 0 < value <= _LONGEST_SECONDS:
        raise AgentError(REQUEST, f"The request asks for {name} of {value!r:.40}.")
    return float(value)
