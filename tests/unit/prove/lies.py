"""How a stand-in's answers differ from those of a device that is as the claims say."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from tmkd_deploy.prove.proof import ClaimProof, Proof


def only(proof: Proof) -> ClaimProof:
    (found,) = proof.claims
    return found


def changed(**values: Any) -> Callable[[Any], Any]:
    return lambda answer: {**answer, **values}


def in_manifest(**values: Any) -> Callable[[Any], Any]:
    def lie(answer: Any) -> Any:
        answer = copy.deepcopy(answer)
        answer["sidecar"]["build"].update(values)
        return answer

    return lie


def fallback(*names: str, keep: bool = True) -> Callable[[Any], Any]:
    def lie(answer: Any) -> Any:
        answer = copy.deepcopy(answer)
        layers = answer["sidecar"]["dla"]["gpu_fallback_layers"]
        answer["sidecar"]["dla"]["gpu_fallback_layers"] = [*(layers if keep else []), *names]
        return answer

    return lie


def measured(place: str, value: Any) -> Callable[[Any], Any]:
    """Another value at a dotted place of the raw times."""

    def lie(answer: Any) -> Any:
        *path, last = place.split(".")
        inner = answer
        for name in path:
            inner = inner[name]
        inner[last] = value(inner[last]) if callable(value) else value
        return answer

    return lie
