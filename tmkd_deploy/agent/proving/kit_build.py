"""The `kit_build` request: run a build kit's script as its user would, in a folder of its own."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

from tmkd_deploy.agent import child_processes
from tmkd_deploy.agent.agent_errors import REQUEST, AgentError
from tmkd_deploy.agent.proving.trtexec_times import require_trtexec, shown_lines
from tmkd_deploy.agent.transport.request_fields import field

if TYPE_CHECKING:
    from tmkd_deploy.agent.transport.context import Context

_TIMEOUT_SECONDS = 1200.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def kit_build(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """Lay out a kit's `files`, the SHA-256 of each name, and run its `script`.

    Returns:
        `status`: the script's exit status; `engine`: the SHA-256 of the file `written` that it was
        to write, None if it did not; `lines`: what shows it.

    Raises:
        AgentError: `request`: a name is not that of a file; `data`: a file is missing;
            `environment`: trtexec is missing, or the script took too long.
    """
    trtexec = require_trtexec()
    folder = context.scratch()
    for name, sha256 in field(request, "files", dict).items():
        shutil.copyfile(str(context.stored_file(sha256)), str(folder / _checked(name)))
    script = folder / _checked(field(request, "script", str))
    command = ["env", f"TRTEXEC={trtexec}", "sh", str(script)]
    finished = child_processes.run(command, context.children, _TIMEOUT_SECONDS)
    written = folder / _checked(field(request, "written", str))
    return {
        "status": finished.returncode,
        "engine": context.store_file(written) if written.is_file() else None,
        "lines": shown_lines(finished.output) or finished.output.strip().splitlines()[-5:],
    }


def _checked(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise AgentError(REQUEST, f"{name!r:.100} is not the name of a file.")
    return name
