"""The weights of the views, and fusing outputs with them."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tmkd_deploy.distill.fusion import fuse, predicted_classes, semantic_weights, uniform_weights
from tmkd_deploy.distill.projection import fit_projection, projected_scores

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(deadline=None, max_examples=60)


def scores_and_labels(seed, images=5, views=3, classes=4):
    random = np.random.default_rng(seed)
    scores = random.uniform(-1, 1, (images, views, classes))
    return torch.from_numpy(scores), torch.from_numpy(random.integers(0, classes, images))


@FEW
@given(SEEDS, st.floats(0.01, 10.0))
def test_weights_sum_to_one_and_rank_views_by_the_images_class(seed, temperature):
    scores, labels = scores_and_labels(seed)
    weights = semantic_weights(scores, labels, temperature)
    assert weights.shape == (5, 3)
    assert (weights >= 0).all()
    assert torch.allclose(weights.sum(dim=1), torch.ones(5, dtype=weights.dtype))
    for row, label in enumerate(labels):
        assert weights[row].argmax() == scores[row, :, label].argmax()
        shares = np.exp(scores[row, :, label].numpy() / temperature)
        assert np.allclose(weights[row], shares / shares.sum())


@FEW
@given(SEEDS)
def test_other_classes_do_not_matter(seed):
    scores, labels = scores_and_labels(seed)
    changed = torch.rand_like(scores)
    rows = torch.arange(5)
    changed[rows, :, labels] = scores[rows, :, labels]
    assert torch.equal(
        semantic_weights(scores, labels, 0.1), semantic_weights(changed, labels, 0.1)
    )


@FEW
@given(st.floats(-1, 1), st.floats(0.01, 10.0))
def test_equal_scores_give_equal_weights(score, temperature):
    weights = semantic_weights(torch.full((2, 3, 4), score), torch.tensor([0, 3]), temperature)
    assert torch.allclose(weights, uniform_weights(2, 3))


@FEW
@given(SEEDS)
def test_temperature_interpolates_between_the_best_view_and_uniform(seed):
    scores, labels = scores_and_labels(seed)
    own = scores[torch.arange(5), :, labels]
    cold, hot = (semantic_weights(scores, labels, t) for t in (1e-9, 1e9))
    assert torch.allclose(cold, torch.nn.functional.one_hot(own.argmax(dim=1), 3).double())
    assert torch.allclose(hot, torch.full_like(hot, 1 / 3))


@FEW
@given(SEEDS, st.lists(st.integers(0, 2), min_size=4, max_size=4))
def test_all_weight_on_one_view_gives_that_view(seed, chosen):
    values = torch.from_numpy(np.random.default_rng(seed).normal(size=(3, 4, 6)))
    weights = torch.nn.functional.one_hot(torch.tensor(chosen), 3).double()
    assert torch.equal(fuse(values, weights), values[torch.tensor(chosen), torch.arange(4)])


def test_uniform_weights_give_the_mean():
    values = torch.randn(3, 4, 6)
    assert torch.allclose(fuse(values, uniform_weights(4, 3)), values.mean(dim=0), atol=1e-6)


@FEW
@given(SEEDS)
def test_prediction_guided_weights_need_no_label(seed):
    scores, _ = scores_and_labels(seed)
    seen = predicted_classes(scores)
    assert torch.equal(seen, torch.tensor([int(row.mean(dim=0).argmax()) for row in scores]))


class TestProjection:
    """Semantic scores from the visual teacher's features only."""

    def made(self, noise, images=60, views=3, classes=4, width=10, space=6):
        random = torch.Generator().manual_seed(1)
        one = torch.nn.functional.normalize(torch.randn(classes, space, generator=random), dim=-1)
        texts = one.expand(views, -1, -1)  # one prompt for all views, as in precomputed files
        labels = torch.arange(images) % classes
        towards = torch.randn(classes, width, generator=random)
        features = towards[labels].expand(views, -1, -1)
        return features + noise * torch.randn(features.shape, generator=random), labels, texts

    def test_features_that_determine_the_class_score_it_highest(self):
        features, labels, texts = self.made(noise=0.1)
        scores = projected_scores(features, fit_projection(features, labels, texts), texts)
        assert scores.shape == (60, 3, 4)
        assert scores.abs().max() <= 1 + 1e-5
        assert (predicted_classes(scores) == labels).all()

    def test_an_uninformative_view_has_a_smaller_weight(self):
        features, labels, texts = self.made(noise=0.1)
        features[2] = torch.randn(features[2].shape, generator=torch.Generator().manual_seed(2))
        scores = projected_scores(features, fit_projection(features, labels, texts), texts)
        mean = semantic_weights(scores, labels, 0.1).mean(dim=0)
        assert mean[2] < 0.8 * min(mean[0], mean[1])

    def test_it_is_ridge_regression(self):
        features, labels, texts = self.made(noise=1.0)
        found = fit_projection(features, labels, texts, ridge=0.5)
        inputs = np.concatenate([features.numpy(), np.ones((3, 60, 1))], axis=-1).reshape(180, -1)
        goals = texts[:, labels].reshape(180, -1).numpy()
        penalty = 0.5 * np.mean(np.sum(inputs**2, axis=0))
        stacked = np.concatenate([inputs, np.sqrt(penalty) * np.eye(inputs.shape[1])])
        padded = np.concatenate([goals, np.zeros((inputs.shape[1], goals.shape[1]))])
        expected = np.linalg.lstsq(stacked, padded, rcond=None)[0]
        assert np.allclose(found.numpy(), expected, atol=1e-5)
