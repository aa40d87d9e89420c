"""The learning rate and the order of images, as functions of the step."""

import warnings

import pytest
import torch

from tmkd_deploy.training.randomness import derived_seed
from tmkd_deploy.training.schedule import Schedule


@pytest.mark.parametrize(("epochs", "per_epoch"), [(1, 2), (1, 7), (2, 5), (10, 3), (40, 4)])
@pytest.mark.parametrize("decay", ["cosine", "multistep"])
def test_the_learning_rate_is_that_of_torch(epochs, per_epoch, decay):
    steps = epochs * per_epoch
    schedule = Schedule(epochs, 8, 0.3, 0.0, 0, "sgd", decay)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    if decay == "cosine":
        reference = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=0.3,
            total_steps=max(steps, 2),
            pct_start=min(0.3, max(0.1, 1 / epochs)),
            cycle_momentum=False,
        )
    else:
        milestones = [steps * eighths // 8 for eighths in (5, 6, 7)]
        reference = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)
    expected = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no optimizer steps here
        for step in range(steps):
            expected.append(reference.get_last_lr()[0])
            if step + 1 < steps:
                reference.step()
    found = [schedule.learning_rate_at(step, steps) for step in range(steps)]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("first", [0, 1, 4, 5, 11, 12])
def test_batches_do_not_depend_on_where_one_begins(first):
    schedule = Schedule(3, 8, 0.1, 0.0, 7)
    every = list(schedule.batches(30, 0))
    assert [number for number, _, _ in every] == list(range(12))
    assert [epoch for _, epoch, _ in every] == [0] * 4 + [1] * 4 + [2] * 4
    for one, other in zip(every[first:], schedule.batches(30, first), strict=True):
        assert one[:2] == other[:2] and torch.equal(one[2], other[2])
    orders = [torch.cat([each for _, epoch, each in every if epoch == e]) for e in range(3)]
    assert not torch.equal(orders[0], orders[1])


def test_seeds_differ_by_purpose_and_number():
    seeds = {
        derived_seed(seed, purpose, number)
        for seed in range(5)
        for purpose in ("order", "step", "dropout")
        for number in range(50)
    }
    assert len(seeds) == 5 * 3 * 50
    assert derived_seed(3, "step", 9) == derived_seed(3, "step", 9)
