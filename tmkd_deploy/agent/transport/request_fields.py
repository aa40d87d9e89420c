"""Typed access to the fields of a request."""

from __future__ import annotations

from typing import Any, TypeVar

from tmkd_deploy.agent.agent_errors import PROTOCOL_MISMATCH_ADVICE, REQUEST, AgentError

Value = TypeVar("Value")


def field(request: dict[str, Any], name: str, kind: type[Value]) -> Value:
    """The field `name`, checked to be of type `kind`.

    Raises:
        AgentError: `request`: the field is missing or of another type.
    """
    value = request.get(name)
    # JSON distinguishes true from 1; to Python a bool is an int
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise AgentError(
            REQUEST,
            f"The request needs {name!r} of type {kind.__name__}, but got {value!r}.",
            advice=PROTOCOL_MISMATCH_ADVICE,
        )
    return value


def objects(request: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The field `name`, checked to be a list of objects.

    Raises:
        AgentError: `request`: the field is missing or of another type.
    """
    values = field(request, name, list)
    return [
        field({f"{name}[{at}]": value}, f"{name}[{at}]", dict) for at, value in enumerate(values)
    ]


def optional(request: dict[str, Any], name: str, kind: type[Value]) -> Value | None:
    """Like `field`, but None where the field is null or missing."""
    return None if request.get(name) is None else field(request, name, kind)
