"""Refuses an engine built for another GPU or release before its runtime does, naming both sides.

TensorRT and TensorRT-RTX run an engine only on the release that built it and the compute capability
that it was built for (https://docs.nvidia.com/deeplearning/tensorrt/11.1.0/inference-library/
engine-compatibility.html and the page of that name for RTX). Their own messages name neither the
file nor the remedy. The CPU runtimes' engines are ONNX files, which are portable.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from tmkd_deploy.agent.agent_errors import DATA, ENVIRONMENT, AgentError

_TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}


class CurrentDevice(NamedTuple):
    """This device: its runtime's release and its compute capability; None if unknown."""

    release: str | None
    sm: str | None


def sidecar_of(engine: Path) -> Path:
    """The path of the manifest beside an engine."""
    return engine.with_name(engine.name + ".json")


def read_sidecar(engine: Path) -> dict[str, Any] | None:
    """The manifest beside an engine; None if there is none.

    Raises:
        AgentError: `data`: it is damaged, or describes another engine.
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
            f"The manifest beside the engine describes another one, {described[:12]}….",
            str(path),
            "Build the engine again.",
        )
    return sidecar


def require_compatible(sidecar: dict[str, Any], here: CurrentDevice) -> None:
    """Refuse an engine that cannot run here; unknown values are left to the runtime to judge.

    Raises:
        AgentError: `environment`; it names both sides and the remedy.
    """
    title = _TITLES.get(sidecar["runtime"])
    if title is None:
        return
    built = CurrentDevice(sidecar["versions"].get("runtime"), sidecar["device"].get("sm"))
    reasons = []
    if _differ(release_of(built.release), release_of(here.release)):
        reasons.append(f"{title} {built.release}, but this device has {here.release}")
    if _differ(sm_of(built.sm), sm_of(here.sm)):
        reasons.append(f"a GPU of SM{sm_of(built.sm)}, but this one is SM{sm_of(here.sm)}")
    if reasons:
        raise AgentError(
            ENVIRONMENT,
            f"The engine cannot run here. It was built for {'; and for '.join(reasons)}.",
            None,
            "Build it again on this device: tmkd-deploy export with --device.",
        )


def release_of(version: str | None) -> tuple[int, ...] | None:
    """The first three numbers of a version: 10.3.0.30 and 10.3.0 are the same release."""
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
