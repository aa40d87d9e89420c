"""Modules that a program hands over: their names, heads, features and graphs."""

from __future__ import annotations

import copy
import importlib.util
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from tmkd_deploy.errors import RequestError
from tmkd_deploy.models import weights
from tmkd_deploy.models.classifier import create, merge_branches
from tmkd_deploy.models.given_modules import given
from tmkd_deploy.quantize.insert import (
    activation_quantizers,
    insert_quantizers,
    quantized_layers,
    user_name,
)


class Residual(nn.Module):
    """Has functions and methods where others have layers, and a layer called as ours are."""

    def __init__(self, classes: int = 5, slope: float = 0.1) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.backbone = nn.Sequential(nn.Dropout(0.5), nn.Linear(8 * 16, classes))
        self.slope = slope
        self.offset = torch.tensor([0.5])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = F.leaky_relu(self.stem(images - self.offset), self.slope)
        maps = torch.relu(self.inner(maps) + maps)
        return self.backbone(F.adaptive_avg_pool2d(maps, 4).view(maps.shape[0] * 1, -1))


class Branching(Residual):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.mean() > 0:
            images = images * 2
        return super().forward(images)


def name_of(model: object, **more: str) -> str:
    with given(model, (32, 32), **more) as name:  # type: ignore[arg-type]
        return name


def test_a_module_is_copied_with_its_weights_and_tells_its_features() -> None:
    torch.manual_seed(0)
    module = Residual().train()
    images = torch.rand(2, 3, 32, 32)
    with given(module, (32, 32)) as name:
        classifier, width = create(name, 5, {}, 32, scratch=True)
        assert weights.initialise(classifier, name, "none") == "model"
    assert name.startswith("own:Residual@")
    logits, features = classifier.eval()(images)
    assert torch.allclose(logits, copy.deepcopy(module).eval()(images), atol=1e-6)
    assert features.shape == (2, width) == (2, 128)
    assert isinstance(module.backbone[1], nn.Linear) and module.training
    assert weights.new_head(classifier) is None
    with pytest.raises(RequestError, match="no model named 'own:"):
        create(name, 5, {}, 32, scratch=True)


@pytest.mark.parametrize("model", [Residual(), timm.create_model("test_resnet", num_classes=5)])
def test_a_head_for_other_classes_is_replaced_and_told(model: nn.Module) -> None:
    with given(model, (32, 32)) as name:
        classifier, _ = create(name, 3, {}, 32, scratch=True)
    assert classifier(torch.rand(2, 3, 32, 32))[0].shape == (2, 3)
    assert "for 5 classes in the module and for 3" in str(weights.new_head(classifier))


def test_a_factory_is_called_with_classes_and_size() -> None:
    calls = []

    def factory(classes: int, size: tuple[int, int]) -> nn.Module:
        calls.append((classes, size))
        return Residual(classes)

    with given(factory, (32, 48)) as name:
        create(name, 3, {}, [32, 48], scratch=True)
    assert name.startswith("own:factory@") and calls == [(2, (32, 48)), (3, (32, 48))]


def test_a_name_stays_while_the_module_does() -> None:
    torch.manual_seed(1)
    module = Residual()
    assert name_of(module) == name_of(copy.deepcopy(module).train())
    state = torch.random.get_rng_state()
    first = name_of(partial(_made, slope=0.1))
    assert first == name_of(partial(_made, slope=0.1)) != name_of(partial(_made, slope=0.2))
    assert torch.equal(state, torch.random.get_rng_state())


def _made(classes: int, size: tuple[int, int], slope: float) -> nn.Module:
    return Residual(classes, slope)


def test_whatever_changes_the_output_changes_the_name() -> None:
    torch.manual_seed(1)
    module = Residual()
    names = [name_of(module)]
    with torch.no_grad():
        module.stem.weight[0, 0, 0, 0] += 1e-6
    names.append(name_of(module))
    module.slope = 0.2
    names.append(name_of(module))
    module.offset = torch.tensor([0.6])
    names.append(name_of(module))
    module.backbone[0].p = 0.1
    names.append(name_of(module))
    module.backbone[0] = nn.Identity()
    names.append(name_of(module))
    assert len(set(names)) == len(names)
    assert name_of(module, version="1") != name_of(module, version="2")


SOURCE = "from torch import nn\n\nclass Net(nn.Sequential):\n    power = 1\n"


def test_a_changed_source_changes_the_name_unless_a_version_is_stated(tmp_path: Path) -> None:
    names, versions = set(), set()
    for text in (SOURCE, SOURCE.replace("1", "2")):
        (tmp_path / "own_net.py").write_text(text)
        spec = importlib.util.spec_from_file_location("own_net", tmp_path / "own_net.py")
        assert spec and spec.loader
        loaded = importlib.util.module_from_spec(spec)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(__import__("sys").modules, "own_net", loaded)
            spec.loader.exec_module(loaded)
            names.add(name_of(loaded.Net(nn.Flatten())))
            versions.add(name_of(loaded.Net(nn.Flatten()), version="1"))
    assert (len(names), len(versions)) == (2, 1)


def test_a_class_without_a_source_needs_a_version() -> None:
    found: dict[str, type[nn.Module]] = {}
    exec("class Typed(Base): pass", {"Base": nn.Linear, "__name__": "typed"}, found)
    with pytest.raises(RequestError, match="source of Typed cannot be read"):
        name_of(found["Typed"](2, 2))
    assert name_of(found["Typed"](2, 2), version="1").startswith("own:Typed@")


def test_quantizers_are_placed_in_functions_and_methods_and_names_are_the_authors() -> None:
    with given(Residual(), (32, 32)) as name:
        classifier = merge_branches(create(name, 5, {}, 32, scratch=True)[0])
        copied = copy.deepcopy(classifier)
    insert_quantizers(classifier)
    assert set(map(user_name, quantized_layers(classifier.network))) == {
        "stem",
        "inner",
        "backbone.1",
    }
    # the sum and the first layer with the activations after them, and no size of a tensor
    assert set(activation_quantizers(classifier.network)) == {
        *("sub", "leaky_relu", "backbone_inner", "relu", "adaptive_avg_pool2d"),
    }
    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(classifier(images)[0], copied(images)[0], atol=1e-6)
    insert_quantizers(copied, ["backbone.1"])
    assert len(quantized_layers(copied.network)) == 2


def test_a_graph_that_depends_on_values_names_the_line() -> None:
    with given(Branching(), (32, 32)) as name:
        classifier, _ = create(name, 5, {}, 32, scratch=True)
    line = r"\(.*test_models_given.py:\d+: if images.mean\(\) > 0:\)"
    with pytest.raises(RequestError, match=line) as caught:
        insert_quantizers(classifier)
    assert "cannot be quantized" in caught.value.problem


class Auxiliary(Residual):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = super().forward(images)
        return (logits, logits) if self.training else logits  # type: ignore[return-value]


def test_another_output_in_training_is_refused() -> None:
    with given(Auxiliary(), (32, 32)) as name:
        classifier, _ = create(name, 5, {}, 32, scratch=True)
    with pytest.raises(RequestError, match="returns a tuple in training"):
        classifier.train()(torch.rand(2, 3, 32, 32))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Sequential(nn.Conv2d(3, 5, 32), nn.Flatten()), "no linear layer of its own"),
        (nn.Linear(32, 5), "no linear layer of its own"),
        (nn.LSTM(3, 5), r"does not accept images of 32 x 32 pixels"),
        (nn.Sequential(nn.Flatten(), nn.Linear(7, 5)), "does not accept images of 32 x 32"),
    ],
)
def test_what_is_no_classifier_is_refused(model: nn.Module, said: str) -> None:
    with given(model, (32, 32)) as name, pytest.raises(RequestError, match=said):
        create(name, 5, {}, 32, scratch=True)


@pytest.mark.parametrize(
    ("mean", "std", "scale"),
    [([0.5] * 3, (0.25, 0.25, 0.25), 4.0), (None, None, 1.0), (torch.ones(3), torch.ones(3), 1.0)],
)
def test_a_module_states_its_normalisation_in_lists(mean, std, scale) -> None:
    module = Residual()
    if mean is not None:
        module.mean, module.std = mean, std
    with given(module, (32, 32)) as name:
        classifier, _ = create(name, 5, {}, 32, scratch=True)
    assert torch.allclose(classifier.scale, torch.tensor(scale))


@pytest.mark.parametrize(
    ("mean", "std"), [([0.5], [0.5]), ([0.5] * 3, [0] * 3), (["a"] * 3, [1] * 3)]
)
def test_a_normalisation_that_is_none_is_refused(mean, std) -> None:
    module = Residual()
    module.mean, module.std = mean, std
    with given(module, (32, 32)) as name, pytest.raises(RequestError, match="'mean' and 'std'"):
        create(name, 5, {}, 32, scratch=True)
