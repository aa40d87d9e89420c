"""Inserting quantizers into common networks, and folding their batch norms."""

import copy

import pytest
import torch
from torch import nn

from tmkd_deploy.errors import RequestError
from tmkd_deploy.models.classifier import Classifier, create
from tmkd_deploy.quantize.fold import fold_batch_norms
from tmkd_deploy.quantize.insert import (
    BATCH_NORMS,
    activation_quantizers,
    insert_quantizers,
    quantized_layers,
    use_quant_scheme,
    weighted_layers,
)
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.training.predict import predict

FAMILIES = [
    ("resnet10t", {"channels": [8, 8, 16, 16], "stem_width": 8}),
    ("mobilenetv2_050", {}),
    ("tf_efficientnet_lite0", {}),
    ("mobilenetv4_conv_small_050", {}),
    ("repvgg_a0", {}),
]
CPU = torch.device("cpu")


@pytest.mark.parametrize(("model", "arguments"), FAMILIES, ids=[name for name, _ in FAMILIES])
def test_every_layer_is_quantized_and_computes_the_same(model, arguments):
    torch.manual_seed(0)
    classifier, _ = create(model, 5, arguments, 64, scratch=True)
    classifier.eval()
    images = torch.rand(2, 3, 64, 64)
    layers = [
        name
        for name, module in classifier.network.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    with torch.inference_mode():
        before = classifier(images)[0]
        network = insert_quantizers(classifier)
        assert sorted(quantized_layers(network)) == sorted(layers)
        # nothing is rounded until a scheme is chosen
        assert torch.allclose(classifier(images)[0], before, atol=1e-5)
        use_quant_scheme(network, QuantScheme.S8)
        rounded = classifier(images)[0]
    assert not torch.equal(rounded, before)
    assert torch.isfinite(rounded).all()
    computed = {str(node.target): node for node in network.graph.nodes if node.target in layers}
    assert set(computed) == set(layers)
    quantizers = set(activation_quantizers(network).values())
    for name, node in computed.items():
        (source,) = node.all_input_nodes
        while source.op == "call_module" and isinstance(
            network.get_submodule(source.target),
            (nn.Identity, nn.Dropout, nn.Flatten, nn.MaxPool2d),
        ):
            (source,) = source.all_input_nodes
        assert network.get_submodule(source.target) in quantizers, f"{name} reads floats"


def test_an_excluded_layer_is_unchanged():
    torch.manual_seed(0)
    classifier, _ = create(
        "resnet10t", 3, {"channels": [8, 8, 8, 8], "stem_width": 8}, 32, scratch=True
    )
    everything = list(weighted_layers(classifier.network))
    network = insert_quantizers(classifier, ["fc", "backbone.layer1.0.conv1"])
    left = set(everything) - set(quantized_layers(network))
    assert left == {"backbone.fc", "backbone.layer1.0.conv1"}
    use_quant_scheme(network, QuantScheme.S8)
    conv = network.get_submodule("backbone.layer1.0.conv1")
    assert not hasattr(conv, "parametrizations")


class _Blocks(nn.Module):
    """Three residual blocks with a gate each, a pooling and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.convs = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.gates = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(3))
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x)
        for conv, gate in zip(self.convs, self.gates, strict=True):
            inner = torch.relu(conv(x))
            x = x + inner * torch.sigmoid(gate(inner.mean((2, 3), keepdim=True)))
        return self.fc(x.mean((2, 3)))


def consumers_after_excluding(*layers: str) -> set[str]:
    network = insert_quantizers(Classifier(_Blocks(), (0.0,) * 3, (1.0,) * 3), layers)
    quantizers = activation_quantizers(network).values()
    return {name for each in quantizers for name in each.consumers}


def test_what_lies_among_excluded_layers_stays_in_floating_point_too():
    everything = consumers_after_excluding()
    assert {"add", "mul", "mean", "mean_3", "fc"} <= everything
    # a block between others: what it adds to is computed by a layer that is quantized
    block = everything - consumers_after_excluding("convs.1", "gates.1")
    assert block == {"convs.1", "gates.1", "mul_1", "mean_1"}
    # the last block and all after it
    end = everything - consumers_after_excluding("convs.2", "gates.2", "fc")
    assert end == {"convs.2", "gates.2", "fc", "mul_2", "mean_2", "add_2", "mean_3"}
    assert consumers_after_excluding("stem", "convs.0", "convs.1", "convs.2", "fc") > {"gates.0"}
    gates = [f"gates.{number}" for number in range(3)]
    convs = [f"convs.{number}" for number in range(3)]
    assert consumers_after_excluding("stem", *convs, *gates, "fc") == set()


def test_an_unknown_layer_is_refused_with_the_known_names():
    classifier, _ = create(
        "resnet10t", 3, {"channels": [8, 8, 8, 8], "stem_width": 8}, 32, scratch=True
    )
    with pytest.raises(RequestError, match="no such layer") as caught:
        insert_quantizers(classifier, ["layer9.conv"])
    assert "'layer9.conv'" in caught.value.problem
    assert "layer1.0.conv1" in caught.value.advice and "fc" in caught.value.advice
    assert "backbone." not in caught.value.advice
    # the network is unchanged, so another attempt is possible
    assert not quantized_layers(classifier.network)


class Undecided(nn.Module):
    def forward(self, images):
        features = images.mean(dim=(2, 3))
        return (features if features.sum() > 0 else -features), features


def test_a_network_whose_graph_depends_on_its_input_is_refused():
    with pytest.raises(RequestError, match="cannot be quantized"):
        insert_quantizers(Classifier(Undecided(), [0.0] * 3, [1.0] * 3))


def folded(classifier):
    network = insert_quantizers(classifier)
    fold_batch_norms(network)
    return classifier, network


def norms(network):
    return [module for module in network.modules() if isinstance(module, BATCH_NORMS)]


def test_folding_changes_no_logits_of_the_trained_network(digits):
    images = digits.data.images("test")
    expected = predict(digits.classifier(), images, CPU)
    classifier, network = folded(digits.classifier())
    assert norms(network) == []
    found = predict(classifier, images, CPU)
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("kind", ["negative", "zero"])
def test_folding_is_exact_for_negative_and_zero_gammas(digits, kind):
    plain = digits.classifier()
    with torch.no_grad():
        for norm in norms(plain):
            norm.weight[::2] = -norm.weight[::2] if kind == "negative" else 0.0
    images = digits.data.images("test")[:64]
    expected = predict(copy.deepcopy(plain), images, CPU)
    found = predict(folded(plain)[0], images, CPU)
    assert torch.isfinite(found).all()
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max().clamp(min=1.0)


@pytest.mark.parametrize("signs", ["as trained", "negative"])
def test_folding_changes_no_rounding_of_weights(digits, signs):
    """Rounded before or after folding, a weight is the same integer times its scale."""
    apart = digits.classifier()
    if signs == "negative":
        with torch.no_grad():
            for norm in norms(apart):
                norm.weight[::2] *= -1
    together = copy.deepcopy(apart)
    images = digits.data.images("test")[:64]
    network = insert_quantizers(apart)
    use_quant_scheme(network, QuantScheme.S8)
    _, whole = folded(together)
    use_quant_scheme(whole, QuantScheme.S8)
    # activations are not rounded, so that only the rounding of weights can differ
    for quantizer in (
        *activation_quantizers(network).values(),
        *activation_quantizers(whole).values(),
    ):
        quantizer.use(None)
    expected, found = predict(apart, images, CPU), predict(together, images, CPU)
    assert not torch.allclose(expected, predict(digits.classifier(), images, CPU), atol=1e-6)
    assert (found - expected).abs().max() < 1e-3 * expected.abs().max()


def test_a_norm_without_affine_parameters_is_folded():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU())
    layers[1].running_mean.uniform_(-1, 1)
    layers[1].running_var.uniform_(0.5, 2)
    traced = torch.fx.symbolic_trace(layers.eval())
    images = torch.rand(2, 3, 8, 8)
    expected = traced(images)
    fold_batch_norms(traced)
    assert norms(traced) == []
    assert torch.allclose(traced(images), expected, atol=1e-6)


def test_a_norm_after_a_shared_layer_is_not_folded():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.norm.running_mean.fill_(1.0)

        def forward(self, images):
            maps = self.conv(images)
            return self.norm(maps) + maps

    traced = torch.fx.symbolic_trace(Shared().eval())
    images = torch.rand(1, 3, 8, 8)
    expected = traced(images)
    fold_batch_norms(traced)
    assert len(norms(traced)) == 1
    assert torch.allclose(traced(images), expected, atol=1e-6)
