"""All origins of models, and which one a name belongs to."""

from __future__ import annotations

from tmkd_deploy.errors import RequestError
from tmkd_deploy.models.given_modules import PREFIX as OWN
from tmkd_deploy.models.given_modules import GivenModules
from tmkd_deploy.models.installed_models import InstalledModels
from tmkd_deploy.models.interface import Origin
from tmkd_deploy.models.onnx_files import OnnxFiles
from tmkd_deploy.models.onnx_name import is_onnx_file
from tmkd_deploy.models.timm_models import TimmModels
from tmkd_deploy.models.torchvision_models import PREFIX, TorchvisionModels
from tmkd_deploy.suggestions import did_you_mean

_TIMM, _TORCHVISION, _INSTALLED = TimmModels(), TorchvisionModels(), InstalledModels()
_GIVEN, _ONNX = GivenModules(), OnnxFiles()


def origin_of(model: str, where: str | None = None) -> Origin:
    """Where `model` comes from, by its name alone: without a prefix, from timm.

    Raises:
        RequestError: there is no such model; the closest names are suggested.
    """
    if is_onnx_file(model):
        return _ONNX
    if ":" not in model:
        known = _TIMM.names()
        if model.partition(".")[0] in known:
            return _TIMM
        raise RequestError(
            f"timm has no model named {model!r}.",
            where=where,
            advice=did_you_mean(model, known) or "timm.list_models() lists all names.",
        )
    if model in _TORCHVISION.names():
        return _TORCHVISION
    if model in _INSTALLED.names():
        return _INSTALLED
    if model in _GIVEN.names():
        return _GIVEN
    advice = did_you_mean(model, [*_INSTALLED.names(), *_TORCHVISION.names()])
    if model.startswith("timm:"):
        advice = "Names of timm models have no prefix."
    elif model.startswith(OWN):
        advice = "A module of your own comes from a program; see tmkd_deploy.api."
    elif model.startswith(PREFIX + "squeezenet"):
        advice = "SqueezeNet has no last linear layer; choose another model."
    else:
        advice += " A model of a package can be used once the package is installed."
    raise RequestError(f"There is no model named {model!r}.", where=where, advice=advice)
