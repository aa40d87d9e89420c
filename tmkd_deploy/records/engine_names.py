"""Names of a target's engines, and how they are shown.

An engine of the target's own runtime is named after its precision, such as `int8`; one of another
runtime after both, such as `int8-openvino`.
"""

from __future__ import annotations

from tmkd_deploy.records.types import Precision, RuntimeName
from tmkd_deploy.runtime.runtimes import RUNTIMES


def engine_name(precision: Precision, runtime: RuntimeName | None) -> str:
    """The name of an engine; its `runtime` is None if that is the target's own."""
    return precision if runtime is None else f"{precision}-{runtime}"


def engine_title(name: str) -> str:
    """An engine's name as reports show it, such as 'INT8' or 'INT8 OpenVINO'."""
    precision, _, runtime = name.partition("-")
    title = RUNTIMES[runtime].title if runtime in RUNTIMES else runtime
    return f"{precision.upper()} {title}".rstrip()
