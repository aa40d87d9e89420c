"""Reading a request's fields."""

from __future__ import annotations

from typing import Any, TypeVar

from tmkd_deploy.agent.agent_errors import REQUEST, AgentError

Value = TypeVar("Value")


def field(request: dict[str, Any], name: str, kind: type[Value]) -> Value:
    """The field `name`, which must be there and of this kind.

    Raises:
        AgentError: `request`, because it is missing or of another kind.
    """
    value = request.get(name)
    # JSON has true and 1 apart, Python counts the first among the integers
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise AgentError(
            REQUEST,
            f"The request needs {name!r} of type {kind.__name__}, and got {value!r}.",
            advice="Host and agent disagree; install the same tmkd-deploy again and report this.",
        )
    return value


def optional(request: dict[str, Any], name: str, kind: type[Value]) -> Value | None:
    """The same, but None where the field is null or missing."""
    return None if request.get(name) is None else field(request, name, kind)
