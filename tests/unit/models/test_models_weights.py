"""Networks by name, and weights from untrusted files."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from tmkd_deploy.errors import DataError, RequestError
from tmkd_deploy.models import weights
from tmkd_deploy.models.checkpoint_file import read_checkpoint
from tmkd_deploy.models.classifier import create, other_normalisation, parameters_of
from tmkd_deploy.models.packaged_weights import PACKAGES, file_of

TINY = {"channels": [8, 8, 8, 8], "stem_width": 8}


def network(classes=3, seed=0):
    torch.manual_seed(seed)
    return create("resnet10t", classes, TINY, 32, scratch=True)[0]


def backbone_state(classifier):
    return classifier.network.backbone.state_dict()


def test_logits_and_features_of_a_network():
    torch.manual_seed(0)
    classifier, width = create("resnet10t", 3, TINY, 32, scratch=True)
    logits, features = classifier(torch.rand(2, 3, 32, 32))
    assert logits.shape == (2, 3) and features.shape == (2, width) == (2, 8)
    last = classifier.network.backbone.fc
    assert torch.allclose(last(features), logits)
    assert parameters_of(last) == 8 * 3 + 3


@pytest.mark.parametrize("scratch", [True, False])
def test_pixels_are_normalised_as_the_weights_expect(scratch):
    classifier, _ = create("resnet10t", 3, TINY, 32, scratch=scratch)
    images = torch.rand(2, 3, 8, 8)
    mean, std = (
        ([128 / 255], [128 / 255]) if scratch else ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    expected = (images - torch.tensor(mean).view(1, -1, 1, 1)) / torch.tensor(std).view(1, -1, 1, 1)
    assert torch.allclose(images * classifier.scale + classifier.offset, expected, atol=1e-6)


@pytest.mark.parametrize("scratch", [True, False])
def test_pixels_are_normalised_as_the_data_want(scratch):
    own = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    classifier, _ = create("resnet10t", 3, TINY, 32, scratch=scratch, normalisation=own)
    pixel = torch.tensor([0.5, 0.7, 0.9]).view(1, 3, 1, 1)
    assert torch.allclose(pixel * classifier.scale + classifier.offset, torch.ones(1, 3, 1, 1))


def test_a_normalisation_that_does_not_suit_the_weights_is_named():
    own = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    classifier, _ = create("resnet10t", 3, TINY, 32, scratch=False, normalisation=own)
    problem = other_normalisation(classifier, own, "pretrained")
    assert "mean [0.485, 0.456, 0.406]" in problem and "are [0.1, 0.2, 0.3]" in problem
    assert other_normalisation(classifier, own, "none") is None
    suits = [0.48, 0.46, 0.41], [0.23, 0.22, 0.23]
    assert other_normalisation(classifier, suits, "pretrained") is None


def test_an_unknown_model_suggests_the_nearest():
    with pytest.raises(RequestError, match="no model named 'resnet10x'") as caught:
        create("resnet10x", 3, {}, 32, scratch=True)
    assert "resnet10t" in caught.value.advice


@pytest.mark.parametrize("arguments", [{"embed_dim": 8}, {"channels": [8]}])
def test_arguments_that_timm_rejects(arguments):
    """Some are rejected immediately, others only when the network runs."""
    with pytest.raises(RequestError, match=r"could not create|does not accept") as caught:
        create("resnet10t", 3, arguments, 32, scratch=True)
    assert "resnet10t" in caught.value.problem and "model_kwargs" in caught.value.advice


def test_images_of_the_wrong_size_are_refused():
    with pytest.raises(RequestError, match="does not accept images of 32 x 32"):
        create("vit_tiny_patch16_224", 3, {}, 32, scratch=True)


def test_saved_weights_are_restored(tmp_path):
    first, second = network(seed=0), network(seed=1)
    weights.save(first, tmp_path / "net.safetensors")
    weights.load(second, tmp_path / "net.safetensors")
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def test_another_networks_weights_are_refused(tmp_path):
    weights.save(network(classes=3), tmp_path / "net.safetensors")
    with pytest.raises(DataError, match="belong to another model") as caught:
        weights.load(network(classes=4), tmp_path / "net.safetensors")
    assert caught.value.where == str(tmp_path / "net.safetensors")


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth"])
@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"PK\x03\x04 cut short"])
def test_garbage_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="cannot be read") as caught:
        read_checkpoint(tmp_path / name)
    assert caught.value.where == str(tmp_path / name)


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth"])
def test_a_truncated_checkpoint_is_refused(tmp_path, name):
    path = tmp_path / name
    save = save_file if name.endswith("safetensors") else torch.save
    save({"a": torch.rand(1000)}, path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match="cannot be read"):
        read_checkpoint(path)


class Harm:
    """Creates a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("way", ["torch", "pickle"])
def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path, way):
    harm = tmp_path / "harm"
    path = tmp_path / "net.pth"
    if way == "torch":
        torch.save({"a": torch.ones(1), "b": Harm(str(harm))}, path)
    else:
        path.write_bytes(pickle.dumps({"b": Harm(str(harm))}))
    with pytest.raises(DataError, match="cannot be read"):
        read_checkpoint(path)
    assert not harm.exists()


@pytest.mark.parametrize("content", [{"a": 3}, [torch.ones(1)], torch.ones(1)])
def test_a_file_without_a_dictionary_of_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(DataError, match="plain dictionary of tensors"):
        read_checkpoint(tmp_path / "net.pth")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_checkpoint(tmp_path / "none.pth")


@pytest.mark.parametrize("wrapping", [None, "state_dict", "model"])
def test_a_checkpoint_keeps_the_head_of_another_number_of_classes(tmp_path, wrapping):
    given = backbone_state(network(classes=7, seed=0))
    torch.save({wrapping: given} if wrapping else given, tmp_path / "net.pth")
    classifier = network(classes=3, seed=1)
    head = classifier.network.backbone.fc.weight.clone()
    weights.initialise(classifier, "resnet10t", str(tmp_path / "net.pth"))
    for name, tensor in backbone_state(classifier).items():
        expected = head if name == "fc.weight" else given[name]
        assert name == "fc.bias" or torch.equal(tensor, expected), name


def test_weights_none_changes_nothing():
    classifier = network()
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    weights.initialise(classifier, "resnet10t", "none")
    assert all(torch.equal(t, before[name]) for name, t in classifier.state_dict().items())


@pytest.mark.parametrize("change", ["shape", "missing"])
def test_a_mismatched_checkpoint_names_the_tensor(tmp_path, change):
    given = backbone_state(network())
    if change == "shape":
        given["layer1.0.conv1.weight"] = torch.rand(5, 8, 3, 3)
    else:
        del given["layer1.0.conv1.weight"]
    path = tmp_path / "net.safetensors"
    save_file(given, path)
    with pytest.raises(DataError, match="does not match the model") as caught:
        weights.initialise(network(seed=1), "resnet10t", str(path))
    assert caught.value.where == str(path)
    if change == "shape":
        assert "'layer1.0.conv1.weight' has the shape (5, 8, 3, 3)" in caught.value.problem


def test_the_same_network_with_other_names_is_matched_by_order(tmp_path):
    given = backbone_state(network(seed=0))
    renamed = {f"other.{name}": tensor for name, tensor in given.items()}
    torch.save(renamed, tmp_path / "net.pth")
    classifier = network(seed=1)
    weights.initialise(classifier, "resnet10t", str(tmp_path / "net.pth"))
    for name, tensor in backbone_state(classifier).items():
        assert torch.equal(tensor, given[name]), name


@pytest.mark.parametrize("name", PACKAGES)
def test_packaged_weights_are_loaded_into_timms_model(name):
    package = PACKAGES[name]
    pytest.importorskip(package.module)
    given = read_checkpoint(file_of(name))
    classifier, _ = create(package.model, 2, {}, 64, scratch=False)
    weights.initialise(classifier, package.model, name)
    backbone = classifier.network.backbone
    assert torch.equal(backbone.conv_stem.weight, next(iter(given.values())))
    assert backbone.classifier.weight.shape == (2, 1280)
    convolutions = [m for m in backbone.modules() if isinstance(m, torch.nn.Conv2d)]
    kernels = [tensor for tensor in given.values() if tensor.ndim == 4]
    assert len(convolutions) == len(kernels)
    assert all(torch.equal(m.weight, k) for m, k in zip(convolutions, kernels, strict=True))
