"""The `remove_installed` request: take away an engine that a proof installed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tmkd_deploy.agent.agent_errors import engine_errors_translated
from tmkd_deploy.agent.build.install_request import key_of, machine_of
from tmkd_deploy.runtime import installed_engines

if TYPE_CHECKING:
    from tmkd_deploy.agent.transport.context import Context


def remove_installed(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """Delete an installed engine and its record, if they are there; errors as `find_installed`."""
    with engine_errors_translated():
        plan = installed_engines.path_of(key_of(request), machine_of(request))
    for path in (plan, plan.with_suffix(".json")):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    return {}
