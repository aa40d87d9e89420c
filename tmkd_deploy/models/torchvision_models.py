"""torchvision's classifiers, named `torchvision:resnet18`."""

from __future__ import annotations

import functools
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
import torchvision
from torch import Tensor
from torchvision.models import Weights

from tmkd_deploy.errors import DataError
from tmkd_deploy.models.checkpoint_file import read_checkpoint
from tmkd_deploy.models.interface import Built, ModelSpec
from tmkd_deploy.models.reachable import obstacle

PREFIX = "torchvision:"
_SECONDS = 8.0  # for a first answer
# their logits are pooled maps, so there are no features before a last layer
_WITHOUT_LAST_LAYER = ("squeezenet",)
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class TorchvisionModels:
    """The classifiers in `torchvision.models`, without auxiliary heads."""

    name = "torchvision"
    brings_weights = False

    @functools.cache  # noqa: B019 - there is one object
    def names(self) -> list[str]:
        """All names that work, with their prefix."""
        names = torchvision.models.list_models(module=torchvision.models)
        return [PREFIX + name for name in names if not name.startswith(_WITHOUT_LAST_LAYER)]

    def build(self, spec: ModelSpec) -> Built:
        """The model with random weights."""
        name = spec.model.removeprefix(PREFIX)
        arguments = {**_by_name(name, spec.height, spec.width), **spec.model_kwargs}
        module = torchvision.models.get_model(name, num_classes=spec.classes, **arguments)
        transforms = _transforms(name)
        return Built(
            module,
            (
                list(getattr(transforms, "mean", _MEAN)),
                list(getattr(transforms, "std", _STD)),
            ),
            getattr(transforms, "crop_size", [None])[0],
        )

    def has_pretrained(self, model: str) -> bool:
        """Whether torchvision lists weights for it."""
        return _published(model.removeprefix(PREFIX)) is not None

    def pretrained_state(self, model: str) -> dict[str, Tensor]:
        """torchvision's default weights, from torch.hub's folder or the network.

        Raises:
            DataError: they are not in the folder and cannot be downloaded; without a network,
                within seconds.
        """
        weights = _published(model.removeprefix(PREFIX))
        if weights is None:
            raise _missing(model, "there are none")
        url = weights.url
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name
        if not path.exists():
            if why := obstacle(functools.partial(_ask, url), _server(url), _SECONDS):
                raise _missing(model, why)
            _download(model, url, path)
        return read_checkpoint(path)

    def pretrained_shapes(self, model: str) -> dict[str, Tensor]:
        """The shapes of torchvision's default weights."""
        name = model.removeprefix(PREFIX)
        with torch.device("meta"):
            module = torchvision.models.get_model(name, **_by_name(name, 224, 224))
        return dict(module.state_dict())


def _by_name(name: str, height: int, width: int) -> dict[str, Any]:
    """The arguments that some models need besides the number of classes."""
    if name in ("googlenet", "inception_v3"):
        # its published weights come with this change of normalisation inside the model
        return {"aux_logits": False, "transform_input": True, "init_weights": True}
    if name.startswith("vit_") and height == width:
        return {"image_size": height}
    if name.startswith("maxvit"):
        return {"input_size": (height, width)}
    return {}


def _published(name: str) -> Weights | None:
    return getattr(torchvision.models.get_model_weights(name), "DEFAULT", None)


def _transforms(name: str) -> object:
    weights = _published(name)
    return weights.transforms() if weights else None


def _server(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _ask(url: str) -> None:
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - torchvision's address
    with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310
        pass


def _download(model: str, url: str, path: Path) -> None:
    """Fetch the file, whose name ends in the beginning of its hash."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        begin_of_hash = path.stem.rpartition("-")[2]
        torch.hub.download_url_to_file(url, str(path), begin_of_hash, progress=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise _missing(model, str(error)) from error


def _missing(model: str, why: str) -> DataError:
    return DataError(
        f"The pretrained weights of {model!r} cannot be downloaded: {why.rstrip('.')}.",
        advice="Check the network connection, or use a downloaded checkpoint file.",
    )
