"""Parallel branches: used for training, merged for everything after it."""

import copy

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from tmkd_deploy.models.classifier import Classifier, create, merge_branches  # noqa: E402
from tmkd_deploy.quantize.insert import insert_quantizers, quantized_layers  # noqa: E402

SIDE = 32
SMALL: dict[str, dict[str, object]] = {
    "repvgg_a0": {},
    "mobileone_s0": {},
    "fastvit_t8": {"embed_dims": (16, 32, 64, 128), "layers": (1, 1, 1, 1)},
}


def convolutions(classifier: Classifier) -> int:
    return sum(isinstance(module, torch.nn.Conv2d) for module in classifier.modules())


def with_batch_norm_statistics(model: str) -> Classifier:
    """A network with non-trivial batch norm statistics, so that merging is a real test."""
    torch.manual_seed(0)
    classifier, _ = create(model, 4, SMALL[model], SIDE, scratch=True)
    classifier.train()
    for _ in range(3):
        classifier(torch.rand(8, 3, SIDE, SIDE))
    return classifier.eval()


@pytest.mark.parametrize("model", SMALL)
def test_merged_branches_give_the_same_outputs_with_fewer_convolutions(model: str) -> None:
    classifier = with_batch_norm_statistics(model)
    merged = merge_branches(copy.deepcopy(classifier))
    images = torch.rand(4, 3, SIDE, SIDE)
    with torch.inference_mode():
        before, after = classifier(images)[0], merged(images)[0]
    assert torch.allclose(before, after, atol=1e-3 * float(before.abs().max()))
    assert convolutions(merged) < convolutions(classifier)
    insert_quantizers(merged)
    assert len(quantized_layers(merged.network)) > 10


def test_a_network_without_branches_is_unchanged() -> None:
    classifier, _ = create("test_resnet", 4, {}, SIDE, scratch=True)
    names = list(classifier.state_dict())
    assert list(merge_branches(classifier).state_dict()) == names
