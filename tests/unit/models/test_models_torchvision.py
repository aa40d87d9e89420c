"""torchvision's classifiers by name: their heads, weights, names of layers and quantization."""

import hashlib
import socket
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
import torchvision

from tmkd_deploy.errors import DataError, RequestError
from tmkd_deploy.export.torch_to_onnx import to_onnx
from tmkd_deploy.models import torchvision_models, weights
from tmkd_deploy.models.classifier import create, merge_branches, other_normalisation
from tmkd_deploy.quantize.insert import insert_quantizers, quantized_layers
from tmkd_deploy.records.layer_names import user_name
from tmkd_deploy.records.onnx_model import MODULE

SMALL = "torchvision:shufflenet_v2_x0_5"
MOBILE = "torchvision:mobilenet_v2"


def network(model=SMALL, classes=3, seed=0, **given):
    torch.manual_seed(seed)
    return create(model, classes, given, 32, scratch=False)[0]


@pytest.mark.parametrize(
    ("model", "width"), [(SMALL, 1024), (MOBILE, 1280), ("torchvision:mobilenet_v3_small", 1024)]
)
def test_logits_are_torchvisions_own_and_follow_from_the_features(model, width):
    classifier = network(model).eval()
    images = torch.rand(2, 3, 32, 32)
    logits, features = classifier(images)
    assert features.shape == (2, width)
    assert torch.equal(classifier.network.last(features), logits)
    twin = torchvision.models.get_model(model.partition(":")[2], num_classes=3).eval()
    twin.load_state_dict(classifier.network.original_state())
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    assert torch.allclose(twin((images - mean) / std), logits, atol=1e-5)


def test_a_gradient_reaches_every_parameter():
    classifier = network().train()
    classifier(torch.rand(4, 3, 64, 64))[0].sum().backward()
    assert all(each.grad is not None for each in classifier.parameters())


def test_every_family_is_built_and_traced_without_memory_for_its_weights():
    with torch.device("meta"):
        for name in ("alexnet", "convnext_tiny", "efficientnet_b0", "swin_t", "vit_b_16"):
            model = f"torchvision:{name}"
            classifier, _ = create(model, 5, {}, 224, scratch=False)
            weights.check_fit(classifier, model, "pretrained")
            insert_quantizers(merge_branches(classifier))
            assert quantized_layers(classifier.network), name


def test_keywords_of_the_list_reach_torchvision():
    assert network(MOBILE, width_mult=0.25).network.backbone.features[0][0].out_channels == 8
    with pytest.raises(RequestError, match="torchvision could not create"):
        network(MOBILE, embed_dim=8)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("torchvision:resnet19", '"torchvision:resnet18"'),
        ("torchvison:resnet18", '"torchvision:resnet18"'),
        ("torchvision:squeezenet1_0", "SqueezeNet has no last linear layer"),
        ("timm:resnet18", "no prefix"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(model, said):
    with pytest.raises(RequestError, match="no model named") as caught:
        network(model)
    assert said in caught.value.advice


def test_the_normalisation_is_that_of_the_weights():
    own = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    assert "mean [0.485, 0.456, 0.406]" in other_normalisation(network(), own, "pretrained")
    # a model whose weights expect something else than most
    with torch.device("meta"):
        vit = create("torchvision:efficientnet_v2_l", 3, {}, 64, scratch=False)[0]
    assert vit.network.normalisation == ([0.5] * 3, [0.5] * 3) and vit.network.side == 480


def publish(monkeypatch, folder, port=None):
    """Weights of another seed as torchvision's own; at `port`, or in torch.hub's folder."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder / "hub"))
    torch.manual_seed(7)
    state = torchvision.models.get_model(SMALL.partition(":")[2]).state_dict()
    torch.save(state, folder / "new.pth")
    digest = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()
    name = f"small-{digest[:8]}.pth"
    published = folder / "published" if port else folder / "hub" / "checkpoints"
    published.mkdir(parents=True)
    (folder / "new.pth").rename(published / name)
    url = f"http://127.0.0.1:{port or 9}/{name}"
    monkeypatch.setattr(torchvision_models, "_published", lambda _: SimpleNamespace(url=url))
    return state


def test_weights_in_torch_hubs_folder_need_no_network(tmp_path, monkeypatch):
    classifier = network()
    state = publish(monkeypatch, tmp_path)
    assert weights.initialise(classifier, SMALL, "auto") == "pretrained"
    found = classifier.network.original_state()
    assert torch.equal(found["conv1.0.weight"], state["conv1.0.weight"])
    assert found["fc.weight"].shape[0] == 3
    assert "fc, starts from random values: it is for 1000 classes" in classifier.network.new_head


def test_weights_are_downloaded_once_and_their_hash_is_checked(tmp_path, monkeypatch):
    classifier = network()
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path / "published")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            state = publish(monkeypatch, tmp_path, server.server_port)
            weights.initialise(classifier, SMALL, "pretrained")
            (kept,) = (tmp_path / "hub" / "checkpoints").iterdir()
            kept.unlink()
            (tmp_path / "published" / kept.name).write_bytes(b"something else")
            with pytest.raises(DataError, match="invalid hash value"):
                weights.initialise(classifier, SMALL, "pretrained")
            assert not list((tmp_path / "hub" / "checkpoints").iterdir())
        finally:
            server.shutdown()
    found = classifier.network.original_state()
    assert torch.equal(found["conv1.0.weight"], state["conv1.0.weight"])


def test_a_server_that_keeps_silent_is_given_up(tmp_path, monkeypatch):
    """It accepts the connection and sends nothing: without a limit, this test would hang."""
    classifier = network()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        publish(monkeypatch, tmp_path, silent.getsockname()[1])
        monkeypatch.setattr(torchvision_models, "_SECONDS", 0.5)
        with pytest.raises(DataError, match="cannot be downloaded: http://127"):
            weights.initialise(classifier, SMALL, "pretrained")
        with pytest.raises(DataError, match="no weights for 'torchvision:shuff"):
            weights.initialise(classifier, SMALL, "auto")


def test_layers_keep_the_names_that_torchvision_gave_them():
    classifier = merge_branches(network(MOBILE, width_mult=0.25))
    insert_quantizers(classifier, ["classifier.1", "features.0.0"])
    names = set(map(user_name, quantized_layers(classifier.network)))
    assert "features.1.conv.0.0" in names and not {"classifier.1", "features.0.0"} & names
    with pytest.raises(RequestError, match=r"'classifier\.2'") as caught:
        insert_quantizers(merge_branches(network(MOBILE, width_mult=0.25)), ["classifier.2"])
    assert '"classifier.1"' in caught.value.advice


def test_the_exported_graph_computes_the_same():
    classifier = network("torchvision:resnet18").eval()
    proto = to_onnx(classifier, 32, 17)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    (found,) = session.run(None, {"images": pixels})
    with torch.inference_mode():
        expected, _ = classifier(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255)
    assert np.abs(found - expected.numpy()).max() < 1e-4
    metadata = [entry for node in proto.graph.node for entry in node.metadata_props]
    modules = {entry.value for entry in metadata if entry.key == MODULE}
    assert {"layer1.0.conv1", "fc"} <= modules
