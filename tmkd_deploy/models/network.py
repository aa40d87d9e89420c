"""Any classifier as a network that also returns the features before its last layer."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

import tmkd_deploy
from tmkd_deploy.errors import RequestError
from tmkd_deploy.models.interface import Built, ModelSpec

_TIMM_METHODS = ("forward_features", "forward_head", "get_classifier")
_CONTRACT = (
    "A model maps images [N, 3, H, W] to logits [N, C], and its last operation is a linear layer; "
    "or it has timm's methods forward_features, forward_head and get_classifier."
)
# frames in these folders are not where a user's module is wrong
_LIBRARIES = tuple(
    str(Path(str(each.__file__)).parent) + "/" for each in (torch, timm, torchvision, tmkd_deploy)
)


class Network(nn.Module):
    """A backbone with timm's methods.

    `normalisation` and `side` are those of `Built`. `new_head` says which layer starts from random
    values beside weights that were given; it is set when weights are loaded.
    """

    def __init__(self, backbone: nn.Module, built: Built | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.normalisation = built.normalisation if built else None
        self.side = built.side if built else None
        self.new_head = built.new_head if built else None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images [N, 3, H, W] to logits [N, C] and features [N, D]."""
        maps = self.backbone.forward_features(images)  # type: ignore[operator]
        features = self.backbone.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        return self.backbone.get_classifier()(features), features  # type: ignore[operator]

    def original_state(self) -> dict[str, Tensor]:
        """Its tensors under the names of the model's author."""
        return dict(self.backbone.state_dict())

    def load_original_state(self, state: dict[str, Tensor]) -> None:
        """Load all tensors, under the names of the model's author."""
        self.backbone.load_state_dict(state)

    def head_tensors(self) -> list[str]:
        """The names of the last layer's tensors in `original_state`."""
        state, classes = self.original_state(), int(self.backbone.num_classes)  # type: ignore[arg-type]
        return [name for name in state if state[name].shape[:1] == (classes,)][-2:]


class _At(nn.Module):
    """A module under a dotted name, so that the author's names of layers remain."""

    def __init__(self, name: str, module: nn.Module) -> None:
        super().__init__()
        first, _, rest = name.partition(".")
        self.add_module(first, _At(rest, module) if rest else module)

    def forward(self, features: Tensor) -> Tensor:
        for module in self.children():  # there is one
            features = module(features)
        return features


class CutNetwork(Network):
    """A module whose last operation is the linear layer `head`, which is cut off and kept aside."""

    def __init__(self, module: nn.Module, head: str, built: Built | None = None) -> None:
        linear = module.get_submodule(head)
        self._names = list(module.state_dict())
        module.set_submodule(head, nn.Identity())
        super().__init__(module, built)
        self.last = _At(head, linear)
        self._head = head

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images [N, 3, H, W] to logits [N, C] and features [N, D]."""
        features = self.backbone(images)
        if isinstance(features, tuple | dict):  # some do in training alone
            raise RequestError(
                f"The model returns a {type(features).__name__} in training, and not logits alone.",
                advice="Switch off its auxiliary outputs.",
            )
        return self.last(features), features

    def original_state(self) -> dict[str, Tensor]:
        """Its tensors under the names of the model's author, in the author's order."""
        state = {**self.backbone.state_dict(), **self.last.state_dict()}
        return {name: state[name] for name in self._names}

    def load_original_state(self, state: dict[str, Tensor]) -> None:
        """Load all tensors, under the names of the model's author."""
        head = self.head_tensors()
        self.last.load_state_dict({name: state[name] for name in head})
        self.backbone.load_state_dict({k: v for k, v in state.items() if k not in head})

    def head_tensors(self) -> list[str]:
        """The names of the last layer's tensors in `original_state`."""
        return list(self.last.state_dict())


def network_of(built: Built, spec: ModelSpec) -> tuple[Network, int]:
    """The model as a network, in evaluation mode, and the width D of its features.

    Raises:
        RequestError: it does not accept images of the size, has no such last layer, or returns
            another number of logits.
    """
    module = built.module.eval()
    if has_timm_methods(module):
        network = Network(module, built)
    else:
        network = CutNetwork(module, last_layer(module, spec), built)
    logits, features = _outputs(network, spec)
    if logits.shape != (1, spec.classes):
        raise RequestError(
            f"{spec.model!r} returns logits of the shape {tuple(logits.shape)} for one image; "
            f"expected (1, {spec.classes}).",
            advice="Build it for the number of classes that it is given.",
        )
    return network, int(features.shape[1])


def has_timm_methods(module: nn.Module) -> bool:
    """Whether a module tells its features as timm's models do."""
    return all(hasattr(module, method) for method in _TIMM_METHODS)


def last_layer(module: nn.Module, spec: ModelSpec) -> str:
    """The name of the linear layer whose output is the output of `module`.

    Raises:
        RequestError: there is none, or `module` does not run.
    """
    calls: list[tuple[str, Tensor, Any]] = []
    names: dict[nn.Module, str] = {
        layer: name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)
    }

    def remember(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls.append((names[layer], inputs[0], output))

    hooks = [layer.register_forward_hook(remember) for layer in names]
    try:
        output = _outputs(module, spec)
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(output, Tensor):
        raise RequestError(
            f"{spec.model!r} returns a {type(output).__name__} and not a tensor of logits.",
            advice=_CONTRACT,
        )
    found = [name for name, given, made in calls if made is output and given.ndim == 2]
    if not found or sum(name == found[0] for name, *_ in calls) > 1 or not found[0]:
        raise RequestError(
            f"The last operation of {spec.model!r} is no linear layer of its own, so its features "
            "before that cannot be had.",
            advice=_CONTRACT,
        )
    return found[0]


def line_of(error: BaseException) -> str:
    """Where in a user's own code an error arose, as " (file:line: code)"; empty if nowhere."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((*_LIBRARIES, "<"))
    ]
    return f" ({own[-1].filename}:{own[-1].lineno}: {own[-1].line})" if own else ""


def _outputs(module: nn.Module, spec: ModelSpec) -> Any:
    """What a module returns for one image of zeros."""
    parameter = next(module.parameters(), torch.empty(0))
    image = torch.zeros(1, 3, spec.height, spec.width, device=parameter.device)
    with torch.inference_mode():
        try:
            return module(image)
        except Exception as error:  # a user's module may raise anything
            raise RequestError(
                f"{spec.model!r} does not accept images of {spec.height} x {spec.width} pixels: "
                f"{error or type(error).__name__}{line_of(error)}.",
                advice="Change 'data.image_size' or the model, or correct its 'model_kwargs'.",
            ) from error
