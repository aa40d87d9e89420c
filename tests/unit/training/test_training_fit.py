"""The training loop, its augmentations and its batches."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tmkd_deploy.errors import RequestError
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.training.augment import apply, apply_each, augmentation_count, random_crop
from tmkd_deploy.training.batches import to_float
from tmkd_deploy.training.fit import fit
from tmkd_deploy.training.predict import predict
from tmkd_deploy.training.schedule import Schedule, shuffled

CPU = torch.device("cpu")


def trained(seed, schedule_seed=0, epochs=3):
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    inputs = torch.randn(30, 4, generator=torch.Generator().manual_seed(5))

    def loss_of(step):
        noise = torch.rand(len(step.indices), 1, generator=step.random)
        return (
            (network(inputs[step.indices]) - inputs[step.indices, :1] - 0.1 * noise).square().mean()
        )

    schedule = Schedule(epochs, 8, 0.01, 0.01, schedule_seed)
    fit(network.parameters(), 30, schedule, loss_of, SilentEvents(), "Test")
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_the_same_seed_gives_the_same_weights():
    assert torch.equal(trained(1), trained(1))


def test_another_schedule_seed_gives_other_weights():
    assert not torch.equal(trained(1), trained(1, schedule_seed=2))


class RecordedEvents(SilentEvents):
    """Records the loss of every batch."""

    def __init__(self):
        self.losses = []
        self.steps = 0
        self.finished = False

    def begin(self, description, total, unit):
        self.total = total
        return self

    def advance(self, steps=1, **figures):
        self.steps += steps
        self.losses.append(figures["loss"])

    def finish(self):
        self.finished = True


def test_training_lowers_the_loss_and_counts_every_image():
    weight = torch.nn.Parameter(torch.zeros(3))
    events = RecordedEvents()
    goal = torch.tensor([1.0, -2.0, 3.0])
    schedule = Schedule(40, 8, 0.3, 0.0, 0)
    fit([weight], 32, schedule, lambda _: (weight - goal).square().sum(), events, "Test")
    assert events.losses[-1] < 1e-3 * events.losses[0]
    assert events.steps == events.total == 40 * 32
    assert events.finished


def test_the_learning_rate_warms_up_and_decays_to_zero():
    weight = torch.nn.Parameter(torch.zeros(1))
    seen = []

    def loss_of(step):
        seen.append(float(weight.detach()))
        return -weight.sum()

    # with a constant gradient, Adam's step is the learning rate
    fit([weight], 80, Schedule(10, 8, 0.1, 0.0, 0), loss_of, SilentEvents(), "Test")
    moves = np.diff([*seen, float(weight.detach())])
    assert moves.argmax() < 0.3 * len(moves)
    assert moves.max() == pytest.approx(0.1, rel=0.05)
    assert moves[0] < 0.3 * moves.max()
    assert 0 <= moves[-1] < 0.01 * moves.max()


def test_weight_decay_spares_biases():
    matrix, bias = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))

    def loss_of(step):
        return 0.0 * (matrix.sum() + bias.sum())

    fit([matrix, bias], 8, Schedule(5, 4, 0.1, 1.0, 0), loss_of, SilentEvents(), "Test")
    assert matrix.max() < 0.95
    assert torch.equal(bias, torch.ones(2))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_the_epoch(value):
    weight = torch.nn.Parameter(torch.ones(1))
    events = RecordedEvents()

    def loss_of(step):
        return weight.sum() * (value if step.epoch == 2 else 1.0)

    with pytest.raises(RequestError, match=r"in epoch 3 of 'Test'") as caught:
        fit([weight], 8, Schedule(5, 4, 0.1, 0.0, 0), loss_of, events, "Test")
    assert "learning rate" in caught.value.advice
    assert events.finished
    assert torch.isfinite(weight).all()


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 60), st.integers(2, 20), st.integers(0, 1000))
def test_batches_hold_each_image_once(images, batch_size, seed):
    batches = list(shuffled(images, batch_size, torch.Generator().manual_seed(seed)))
    seen = torch.cat(batches).tolist()
    assert len(set(seen)) == len(seen)
    # a last batch of one image, which batch norm cannot train on, is dropped
    assert len(seen) == images - (1 if images % batch_size == 1 else 0)
    assert all(2 <= len(batch) <= batch_size for batch in batches)


def test_a_dropped_last_batch_does_not_change_the_schedule():
    weight = torch.nn.Parameter(torch.ones(1))
    steps = []

    def loss_of(step):
        steps.append(step.epoch)
        return weight.square().sum()

    fit([weight], 9, Schedule(3, 4, 0.1, 0.0, 0), loss_of, SilentEvents(), "Test")
    assert steps == [0, 0, 1, 1, 2, 2]


def test_pixels_become_floats():
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    floats = to_float(images, torch.tensor([3, 1]), CPU)
    assert floats.shape == (2, 3, 4, 6) and floats.dtype == torch.float32
    assert np.allclose(floats.permute(0, 2, 3, 1).numpy(), images[[3, 1]] / 255)


def test_predictions_do_not_depend_on_the_batch_size(digits):
    images = digits.data.images("test")[:20]
    classifier = digits.classifier()
    single, batched = (predict(classifier, images, CPU, size) for size in (1, 20))
    assert torch.allclose(single, batched, atol=1e-4)


class TestAugment:
    """Numbered augmentations of an image."""

    image = torch.arange(2 * 3 * 4 * 4).view(2, 3, 4, 4)

    @pytest.mark.parametrize(("kind", "count"), [("none", 1), ("flip", 2), ("dihedral", 8)])
    def test_augmentations_are_distinct_and_the_first_is_the_image(self, kind, count):
        assert augmentation_count(kind, 8) == count
        augmented = [apply(self.image, kind, number) for number in range(count)]
        assert torch.equal(augmented[0], self.image)
        assert not any(torch.equal(a, b) for a, b in itertools.combinations(augmented, 2))
        assert all(one.shape == self.image.shape for one in augmented)

    def test_dihedral_augmentations_are_closed(self):
        """Any two of them combine to a third: they are the eight symmetries of a square."""
        augmented = [apply(self.image, "dihedral", number) for number in range(8)]
        for one in augmented:
            for number in range(8):
                again = apply(one, "dihedral", number)
                assert any(torch.equal(again, other) for other in augmented)

    def test_no_more_augmentations_than_are_cached(self):
        assert augmentation_count("dihedral", 3) == 3
        assert augmentation_count("none", 3) == 1

    @pytest.mark.parametrize("kind", ["none", "flip", "dihedral"])
    def test_each_image_gets_its_own_augmentation(self, kind):
        count = augmentation_count(kind, 8)
        numbers = torch.arange(16) % count
        images = torch.rand(16, 3, 5, 5)
        expected = [
            apply(image, kind, int(number)) for image, number in zip(images, numbers, strict=True)
        ]
        assert torch.equal(apply_each(images, kind, numbers), torch.stack(expected))

    def test_crops_shift_and_mirror_the_image(self):
        """Every crop is a window of the padded image or of its mirror, as drawn."""
        images = torch.rand(40, 3, 16, 24)
        cropped = random_crop(images, torch.Generator().manual_seed(3))
        padded = torch.nn.functional.pad(images, (3, 3, 2, 2))
        seen = set()
        for image, found in zip(padded, cropped, strict=True):
            matches = {
                (mirrored, top, left)
                for mirrored in (False, True)
                for top in range(5)
                for left in range(7)
                if torch.equal(
                    found,
                    image[:, top : top + 16, left : left + 24].flip(-1 if mirrored else ()),
                )
            }
            assert len(matches) == 1
            seen |= matches
        assert {mirrored for mirrored, _, _ in seen} == {False, True}
        assert len({place[1:] for place in seen}) > 15
