"""Loading weights into networks, and saving them as safetensors."""

from __future__ import annotations

from pathlib import Path

import torch.distributed as dist
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from tmkd_deploy.errors import DataError, RequestError
from tmkd_deploy.models import packaged_weights
from tmkd_deploy.models.checkpoint_file import read_checkpoint, read_shapes
from tmkd_deploy.models.classifier import Classifier
from tmkd_deploy.models.network import Network
from tmkd_deploy.models.origins import origin_of

BROUGHT = "model"
_HOW_TO_GO_ON = (
    "Connect to the network, install 'tmkd-deploy[weights]' for the weights of "
    "tf_efficientnet_lite0, 1 and 2, or set 'weights' to a checkpoint file; 'weights: none' trains "
    "from nothing."
)


def initialise(classifier: Classifier, model: str, weights: str) -> str:
    """Load `weights`, as the recipe names them, into a classifier's network.

    `weights` is "none", "auto", "pretrained", "package:<name>", the path of a checkpoint or what
    this returned before. "auto"
    is "pretrained" where the model has published weights that can be had, and otherwise the
    package's. The last layer keeps its initialisation if the number of classes differs, and the
    network's `new_head` says so. Returns what was loaded: "auto" never remains, and `BROUGHT` is
    what stands for the weights that the model came with.

    Raises:
        DataError: the checkpoint cannot be read, cannot be downloaded or belongs to another model,
            or "auto" finds no weights.
        RequestError: there are no pretrained weights for `model`.
        MissingExtra: the package with the weights is not installed.
    """
    origin = origin_of(model)
    if origin.brings_weights and weights in ("none", "auto", BROUGHT):
        return BROUGHT
    if weights == "none":
        return weights
    network = _network(classifier)
    published = None
    if weights == "auto":
        weights, published = _best_available(model)
    elif weights == "pretrained":
        _refuse_unpublished(model)
        published = origin.pretrained_state(model)
    if published is not None:
        _load(published, network, Path(model))
    else:
        path = _file_of(weights)
        _load(read_checkpoint(path), network, path)
    return weights


def new_head(classifier: Classifier) -> str | None:
    """What is said of a last layer that starts from random values beside loaded weights."""
    network = classifier.network
    return network.new_head if isinstance(network, Network) else None


def recorded_name(weights: str) -> str:
    """What a record says of loaded weights: their name, or that of their file without folders."""
    return (
        weights
        if weights in {"none", "pretrained", BROUGHT, *packaged_weights.PACKAGES}
        else Path(weights).name
    )


def _best_available(model: str) -> tuple[str, dict[str, Tensor] | None]:
    """What "auto" stands for, and the weights if they are published for the model."""
    origin = origin_of(model)
    why = f"{origin.name} has none for it"
    if origin.has_pretrained(model):
        try:
            return "pretrained", origin.pretrained_state(model)
        except DataError as error:
            why = error.problem
    packaged = packaged_weights.installed_for(model)
    if packaged is None:
        raise DataError(
            f"There are no weights for {model!r} to start from: {why.rstrip('.')}.",
            advice=_HOW_TO_GO_ON,
        )
    return packaged, None


def check_fit(classifier: Classifier, model: str, weights: str) -> str | None:
    """Refuse what `initialise` would refuse, but read no tensors and download nothing.

    `classifier` may be on torch's meta device. Returns what `new_head` would say after loading.

    Raises:
        RequestError: there are no pretrained weights for `model`.
        DataError: the checkpoint cannot be read or belongs to another model.
        MissingExtra: the package with the weights is not installed.
    """
    origin = origin_of(model)
    if weights == "none" or (origin.brings_weights and weights == "auto"):
        return new_head(classifier)
    network = _network(classifier)
    if weights in {"auto", "pretrained"}:
        _refuse_unpublished(model)
        return _match(origin.pretrained_shapes(model), network, Path(model))[1]
    path = _file_of(weights)
    return _match(read_shapes(path), network, path)[1]


def _network(classifier: Classifier) -> Network:
    if not isinstance(classifier.network, Network):
        raise TypeError("only an unmodified network can be initialised from a checkpoint")
    return classifier.network


def _refuse_unpublished(model: str) -> None:
    origin = origin_of(model)
    if not origin.has_pretrained(model):
        raise RequestError(
            f"{origin.name} has no pretrained weights for {model!r}.",
            advice="Choose another model, a weights file, or 'none'.",
        )


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


def _load(checkpoint: dict[str, Tensor], network: Network, path: Path) -> None:
    state, network.new_head = _match(checkpoint, network, path)
    network.load_original_state(state)


def _match(
    checkpoint: dict[str, Tensor], network: Network, path: Path
) -> tuple[dict[str, Tensor], str | None]:
    """A state for `network` from `checkpoint`, and what became of a head of another shape.

    That head stays random. Tensors are matched by name if the names agree, otherwise by order,
    provided that all shapes agree: the same network is often published with other parameter names.

    Raises:
        DataError: a tensor is missing or has another shape, or there are several such models.
    """
    expected, head = network.original_state(), network.head_tensors()
    checkpoint = {_unwrapped(name): tensor for name, tensor in checkpoint.items()}
    body = {name: t for name, t in expected.items() if name not in head and not _is_counter(name)}
    renamed = _below_prefix(checkpoint, body, path)
    if renamed is None:
        names = [name for name in expected if not _is_counter(name)]
        values = [value for name, value in checkpoint.items() if not _is_counter(name)]
        renamed = dict(zip(names, values, strict=True)) if len(names) == len(values) else {}
    matched, new_head = {}, None
    for name, tensor in expected.items():
        found = renamed.get(name)
        if found is not None and found.shape == tensor.shape:
            matched[name] = found
        elif name in head or _is_counter(name):
            matched[name] = tensor
            if name == head[0]:
                new_head = _new_head(name, found, tensor)
        else:
            shape = "is missing" if found is None else f"has the shape {tuple(found.shape)}"
            raise DataError(
                f"The checkpoint does not match the model: {name!r} {shape}; "
                f"expected {tuple(tensor.shape)}.",
                where=str(path),
                advice="Use a checkpoint of exactly this model, or change the model.",
            )
    return matched, new_head


def _below_prefix(
    checkpoint: dict[str, Tensor], body: dict[str, Tensor], path: Path
) -> dict[str, Tensor] | None:
    """The tensors of the one model in `checkpoint` that has all names of `body`; None without one.

    Trainers put models into modules of their own: "module." is DDP's prefix, "model." that of most
    Lightning modules.
    """
    first = next(iter(body), "")
    ends = [name.removesuffix(first) for name in checkpoint if name.endswith(first)]
    prefixes = [end for end in ends if end[-1:] in ("", ".")]
    found = [each for each in prefixes if all(each + name in checkpoint for name in body)]
    if "" in found:
        found = [""]
    if len(found) > 1:
        found = [p for p in found if all(checkpoint[p + k].shape == body[k].shape for k in body)]
    if len(found) > 1:
        raise DataError(
            f"The checkpoint holds several such models: {', '.join(map(repr, found))}.",
            where=str(path),
            advice="Keep one of them: save the entries of its prefix as a file of their own.",
        )
    if not found:
        return None
    cut = len(found[0])
    return {name[cut:]: t for name, t in checkpoint.items() if name.startswith(found[0])}


def _unwrapped(name: str) -> str:
    """A tensor's name without what torch.compile and FSDP put into it, at any place."""
    for part in ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."):
        name = name.replace(part, "")
    return name


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _new_head(name: str, found: Tensor | None, wanted: Tensor) -> str:
    layer = name.rpartition(".")[0]
    if found is None:
        return f"the last layer, {layer}, starts from random values: the weights have none"
    return (
        f"the last layer, {layer}, starts from random values: it is for {found.shape[0]} classes "
        f"in the weights and for {wanted.shape[0]} here"
    )
