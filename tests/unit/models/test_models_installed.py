"""Models that an installed package offers by an entry point."""

import sys

import pytest
import torch
from own_package import install

from tmkd_deploy.errors import RequestError
from tmkd_deploy.models import weights
from tmkd_deploy.models.classifier import create
from tmkd_deploy.models.entry_points import identity


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    yield install(tmp_path)
    sys.modules.pop("acme_nets", None)


def made(name, **given):
    return create(f"acme-nets:{name}", 3, given, 32, scratch=True)


def test_a_factory_builds_a_model_with_its_normalisation(module):
    classifier, width = made("tiny")
    logits, features = classifier(torch.rand(2, 3, 32, 32))
    assert logits.shape == (2, 3) and features.shape == (2, width) == (2, 16)
    assert torch.allclose(classifier.scale, torch.tensor(4.0))
    assert weights.initialise(classifier, "acme-nets:tiny", "auto") == "model"
    assert weights.recorded_name("model") == "model"
    with pytest.raises(RequestError, match="no pretrained weights"):
        weights.check_fit(classifier, "acme-nets:tiny", "pretrained")


def test_a_checkpoint_is_loaded_under_the_authors_names(module, tmp_path):
    first, second = made("tiny")[0], made("tiny")[0]
    state = first.network.original_state()
    assert {"body.0.weight", "last.weight"} <= set(state)
    torch.save(state, tmp_path / "net.pth")
    weights.initialise(second, "acme-nets:tiny", str(tmp_path / "net.pth"))
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(first.eval()(images)[0], second.eval()(images)[0])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_module", "is a str and not a torch module"),
        ("other_head", r"of the shape \(1, 4\) for one image; expected \(1, 3\)"),
        ("softmax", "last operation of 'acme-nets:softmax' is no linear layer"),
        ("absent", "cannot be loaded: .*absent"),
        ("tinny", "no model named 'acme-nets:tinny'"),
    ],
)
def test_what_is_no_model_is_refused(module, name, said):
    with pytest.raises(RequestError, match=said) as caught:
        made(name)
    assert name != "tinny" or '"acme-nets:tiny"' in caught.value.advice


def test_an_error_names_the_line_of_the_package(module):
    with pytest.raises(RequestError, match=r"the images are too small \(.*acme_nets.py:20: assert"):
        create("acme-nets:tiny", 3, {}, 8, scratch=True)
    with pytest.raises(RequestError, match="takes no keywords"):
        made("tiny", depth=3)


def test_the_code_and_the_version_of_a_package_tell_its_models_apart(module, tmp_path):
    first = identity("acme-nets:tiny")
    assert first["version"] == "1.0" and "acme_nets" not in sys.modules
    module.write_text(module.read_text().replace("16,", "24,"))
    assert identity("acme-nets:tiny")["code"] != first["code"]
    assert identity("resnet18") is identity("torchvision:resnet18") is None
