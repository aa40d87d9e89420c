"""What `distill.method` says of the other keys of its section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PLAIN = {"views": ["rgb"], "text_weights": False, "beta": 0.0, "gamma": 0.0}
# those of `auto` are the schema's own
_DEFAULTS: dict[str, dict[str, Any]] = {
    "tmkd": {"text_weights": True, "gamma": 0.1},
    "kd": {"logit_loss": "kd", **_PLAIN},
    "dkd": {"logit_loss": "dkd", **_PLAIN},
    "dist": {"logit_loss": "dist", **_PLAIN},
}


# what fine-tuning through fake quantizers takes of the section; there is no other training
_OF_FINE_TUNING = {
    "epochs",
    "method",
    "batch_size",
    "weight_decay",
    "class_weights",
    "augment",
    "augmentations",
    "mix",
    "mix_alpha",
    "ce_weight",
    "logit_loss",
    "dkd_beta",
    "alpha",
    "temperature",
    "weak_teacher",
}
_WITHOUT_DISTILLATION = {"method": "kd", "teacher_outputs": "live", "baseline": False}


def with_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """The section as `given`, with its method's defaults for the keys that it leaves out.

    What guides the weights of the views says also that there are some. Without epochs, the given
    student is its own teacher: there is one view, and nothing is decided on it.
    """
    if _is_zero(given.get("epochs")):
        given = {**_WITHOUT_DISTILLATION, **given}
    method = given.get("method", "auto")
    defaults = _DEFAULTS.get(method, {}) if isinstance(method, str) else {}
    if method == "auto" and "weights_guided_by" in given:
        defaults = {"text_weights": True}
    return {**defaults, **given}


def contradiction(method: str, section: Mapping[str, Any]) -> str | None:
    """What of a complete section is at odds with its method, and what to do; None if nothing is."""
    if section["epochs"] == 0 and method in ("auto", "tmkd"):
        return (
            f"'method: {method}' needs teachers, and with 'epochs: 0' there is none: remove "
            "'method', or set it to kd, dkd or dist for fine-tuning"
        )
    if method == "tmkd" and section["text_weights"] == "auto":
        return "'text_weights: auto' needs 'method: auto'"
    if method in ("auto", "tmkd"):
        return None
    for key, value in _DEFAULTS[method].items():
        if section[key] != value:
            return (
                f"{key!r} does not fit 'method: {method}', which is that logit loss on the view "
                f"rgb and nothing else: remove {key!r}, or set 'method: auto' or 'method: tmkd'"
            )
    return None


def without_effect(section: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """The keys of a complete section with 'epochs: 0' that are set and that nothing reads.

    `defaults` are those of the schema; what the method sets counts as well.
    """
    expected = {**defaults, **_DEFAULTS[section["method"]], **_WITHOUT_DISTILLATION}
    return [
        key
        for key, value in section.items()
        if key not in _OF_FINE_TUNING and value != expected[key]
    ]


def _is_zero(epochs: Any) -> bool:
    return epochs == 0 and not isinstance(epochs, bool)
