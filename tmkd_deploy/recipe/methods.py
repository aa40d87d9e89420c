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


def with_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """The section as `given`, with its method's defaults for the keys that it leaves out.

    What guides the weights of the views says also that there are some.
    """
    method = given.get("method", "auto")
    defaults = _DEFAULTS.get(method, {}) if isinstance(method, str) else {}
    if method == "auto" and "weights_guided_by" in given:
        defaults = {"text_weights": True}
    return {**defaults, **given}


def contradiction(method: str, section: Mapping[str, Any]) -> str | None:
    """What of a complete section is at odds with its method, and what to do; None if nothing is."""
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
