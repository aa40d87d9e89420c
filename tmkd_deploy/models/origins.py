"""All origins of models, and which one a name belongs to."""

from __future__ import annotations

from tmkd_deploy.errors import RequestError
from tmkd_deploy.models.interface import Origin
from tmkd_deploy.models.timm_models import TimmModels
from tmkd_deploy.models.torchvision_models import PREFIX, TorchvisionModels
from tmkd_deploy.suggestions import did_you_mean

_TIMM, _TORCHVISION = TimmModels(), TorchvisionModels()


def origin_of(model: str, where: str | None = None) -> Origin:
    """Where `model` comes from, by its name alone: without a prefix, from timm.

    Raises:
        RequestError: there is no such model; the closest names are suggested.
    """
    if ":" not in model:
        known = _TIMM.names()
        if model.partition(".")[0] in known:
            return _TIMM
        raise RequestError(
            f"timm has no model named {model!r}.",
            where=where,
            advice=did_you_mean(model, known) or "timm.list_models() lists all names.",
        )
    if model in (known := _TORCHVISION.names()):
        return _TORCHVISION
    advice = did_you_mean(model, known)
    if model.startswith("timm:"):
        advice = "Names of timm models have no prefix."
    elif model.startswith(PREFIX + "squeezenet"):
        advice = "SqueezeNet has no last linear layer; choose another model."
    raise RequestError(f"There is no model named {model!r}.", where=where, advice=advice)
