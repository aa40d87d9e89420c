"""Refuses an engine of another GPU or release before its runtime does, and says both sides.

TensorRT and TensorRT-RTX run an engine on the release that built it only, and on the compute
capability that it was built for (https://docs.nvidia.com/deeplearning/tensorrt/11.1.0/
inference-library/engine-compatibility.html and the page of that name for RTX). What they say
themselves names neither the file nor the remedy. ONNX Runtime's engines are portable.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from tmkd_deploy.agent.agent_errors import DATA, ENVIRONMENT, AgentError

_TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}


class CurrentDevice(NamedTuple):
    """The device at hand: its runtime's release and its compute capability; None if unknown."""

    release: str | None
    sm: str | None


def sidecar_of(engine: Path) -> Path:
    """Where the manifest beside an engine lies."""
    return engine.with_name(engine.name + ".json")


def read_sidecar(engine: Path) -> dict[str, Any] | None:
    """The manifest beside an engine; None for one that came without.

    Raises:
        AgentError: `data`, because it is damaged, or speaks of another engine.
    """
    path = sidecar_of(engine)
    if not path.is_file():
        return None
    try:
        sidecar: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        described = sidecar["engine"]["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise AgentError(
            DATA, "The engine's manifest is damaged.", str(path), "Build the engine again."
        ) from error
    if engine.name != described:
        raise AgentError(
            DATA,
            f"The manifest beside the engine speaks of another one, {described[:12]}….",
            str(path),
            "Build the engine again.",
        )
    return sidecar


def require_compatible(sidecar: dict[str, Any], here: CurrentDevice) -> None:
    """Raise where the engine cannot run here; what is unknown is left to the runtime.

    Raises:
        AgentError: `environment`; it names both sides and what to do.
    """
    title = _TITLES.get(sidecar["runtime"])
    if title is None:
        return
    built = CurrentDevice(sidecar["versions"].get("runtime"), sidecar["device"].get("sm"))
    reasons = []
    if _differ(release_of(built.release), release_of(here.release)):
        reasons.append(f"{title} {built.release}, and here is {here.release}")
    if _differ(sm_of(built.sm), sm_of(here.sm)):
        reasons.append(f"a GPU of SM{sm_of(built.sm)}, and this one is SM{sm_of(here.sm)}")
    if reasons:
        raise AgentError(
            ENVIRONMENT,
            f"The engine was built for {'; and for '.join(reasons)}. It does not run here.",
            None,
            "Build it again on this device: tmkd-deploy export with --device.",
        )


def release_of(version: str | None) -> tuple[int, ...] | None:
    """The first three numbers of a version, which decide: 10.3.0.30 and 10.3.0 are one release."""
    numbers = re.findall(r"\d+", version or "")[:3]
    return tuple(int(number) for number in numbers) or None


def sm_of(text: str | None) -> int | None:
    """A compute capability as a number, from SM87, 87 or 8.7."""
    digits = re.sub(r"\D", "", text or "")
    return int(digits) if digits else None


def _differ(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return False
    if isinstance(one, tuple):  # 8.6 does not contradict 8.6.2
        length = min(len(one), len(other))
        return bool(one[:length] != other[:length])
    return bool(one != other)
