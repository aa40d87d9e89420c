"""Loading weights into networks, and saving them as safetensors."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
import torch.distributed as dist
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from tmkd_deploy.errors import DataError, RequestError
from tmkd_deploy.models import packaged_weights
from tmkd_deploy.models.checkpoint_file import read_checkpoint, read_shapes
from tmkd_deploy.models.pretrained import has_pretrained, pretrained_state
from tmkd_deploy.models.timm_classifier import Classifier, Network

_HOW_TO_GO_ON = (
    "Connect to the network, install 'tmkd-deploy[weights]' for the weights of "
    "tf_efficientnet_lite0, 1 and 2, or set 'weights' to a checkpoint file; 'weights: none' trains "
    "from nothing."
)


def initialise(classifier: Classifier, model: str, weights: str) -> str:
    """Load `weights`, as the recipe names them, into a classifier's backbone.

    `weights` is "none", "auto", "pretrained", "package:<name>" or the path of a checkpoint. "auto"
    is "pretrained" where timm provides weights that can be had, and otherwise the package's. The
    last layer keeps its random initialisation if the number of classes differs. Returns what was
    loaded: "auto" never remains.

    Raises:
        DataError: the checkpoint cannot be read, cannot be downloaded or belongs to another model,
            or "auto" finds no weights.
        MissingExtra: the package with the weights is not installed.
    """
    if weights == "none":
        return weights
    if not isinstance(classifier.network, Network):
        raise TypeError("only an unmodified timm network can be initialised from a checkpoint")
    backbone = classifier.network.backbone
    if weights == "auto":
        weights, published = _best_available(model)
    else:
        published = pretrained_state(model) if weights == "pretrained" else None
    if published is not None:
        backbone.load_state_dict(_match(published, backbone, Path(model)))
        return weights
    path = _file_of(weights)
    backbone.load_state_dict(_match(read_checkpoint(path), backbone, path))
    return weights


def recorded_name(weights: str) -> str:
    """What a record says of loaded weights: their name, or that of their file without folders."""
    return (
        weights
        if weights in {"none", "pretrained", *packaged_weights.PACKAGES}
        else Path(weights).name
    )


def _best_available(model: str) -> tuple[str, dict[str, Tensor] | None]:
    """What "auto" stands for, and the weights if they are timm's."""
    why = "timm has none for it"
    if has_pretrained(model):
        try:
            return "pretrained", pretrained_state(model)
        except DataError as error:
            why = error.problem
    packaged = packaged_weights.installed_for(model)
    if packaged is None:
        raise DataError(
            f"There are no weights for {model!r} to start from: {why.rstrip('.')}.",
            advice=_HOW_TO_GO_ON,
        )
    return packaged, None


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
    if weights in {"auto", "pretrained"}:
        if not has_pretrained(model):
            raise RequestError(
                f"timm has no pretrained weights for {model!r}.",
                advice="Choose another model, a weights file, or 'none'.",
            )
        with torch.device("meta"):
            published = timm.create_model(model).state_dict()
        _match(published, backbone, Path(model))
        return
    path = _file_of(weights)
    _match(read_shapes(path), backbone, path)


def save(module: nn.Module, path: Path) -> None:
    """Write a module's state dictionary as safetensors."""
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()
    }
    write_tensors(state, path)


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write named tensors as safetensors; a full disk raises OSError.

    Of several processes that train together only the first writes: the others' are the same.
    """
    if not dist.is_initialized() or dist.get_rank() == 0:
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


def _file_of(weights: str) -> Path:
    packaged = weights in packaged_weights.PACKAGES
    return packaged_weights.file_of(weights) if packaged else Path(weights)


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
