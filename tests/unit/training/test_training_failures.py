"""Trainings that cannot go on: they say what happened, where, and what to do."""

import math
import subprocess
import sys

import pytest
import torch

from tmkd_deploy.errors import RequestError
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.training.divergence import DivergenceDetector, StepResult
from tmkd_deploy.training.fit import fit
from tmkd_deploy.training.schedule import Schedule

CPU = torch.device("cpu")


def watched(losses, device=CPU, gradient=1.0):
    watch = DivergenceDetector("Test", len(losses), device)
    for number, loss in enumerate(losses):
        watch.see(
            StepResult(number, number // 10, 8, torch.tensor(loss), torch.tensor(gradient), {})
        )
    return watch.look()


def test_an_exploding_loss_is_told():
    with pytest.raises(RequestError, match=r"exploded to 200, from 4 .* at step 39 of 60"):
        watched([4.0] * 29 + [200.0] * 31)


@pytest.mark.parametrize(
    "losses",
    [
        [4.0] * 30 + [1e6] * 9 + [4.0] * 30,  # a few bad batches
        [1e-4] * 30 + [0.5] * 50,  # noise about nothing
        [6.0] * 30 + [60.0] * 50,  # the teachers' terms come to their full weight
    ],
)
def test_what_is_no_explosion(losses):
    watched(losses)


def test_a_gpu_is_waited_for_now_and_then_only():
    watch = DivergenceDetector("Test", 100, torch.device("cuda"))
    looked = [
        len(watch.see(StepResult(number, 0, 8, torch.tensor(1.0), None, {})))
        for number in range(45)
    ]
    assert looked == [20 if number in (19, 39) else 0 for number in range(45)]
    assert len(watch.look()) == 5
    with pytest.raises(RequestError, match="at step 4 of 10"):
        watched([1.0, 1.0, 1.0, math.nan, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], torch.device("cuda"))


def test_a_gradient_that_is_no_number_is_told_before_it_harms():
    weight = torch.nn.Parameter(torch.zeros(2))

    def loss_of(step):
        # the root's slope at zero is infinite while the loss is fine
        return weight.sum().sqrt() if step.number == 1 else 0.0 * weight.sum()

    schedule = Schedule(1, 4, 0.1, 0.0, 0)
    with pytest.raises(RequestError, match="gradient of the loss became"):
        fit([weight], 8, schedule, loss_of, SilentEvents(), "Test")
    assert torch.isfinite(weight).all()


def test_the_term_that_went_wrong_is_named():
    weight = torch.nn.Parameter(torch.ones(2))
    terms = {"labels": torch.tensor(1.0), "features": torch.tensor(math.nan)}
    with pytest.raises(RequestError, match=r"became nan \(its term features\)"):
        fit(
            [weight],
            8,
            Schedule(1, 4, 0.1, 0.0, 0),
            lambda _: weight.sum() * math.nan,
            SilentEvents(),
            "Test",
            terms=lambda: terms,
        )


OUT_OF_MEMORY = """
import resource
import torch
from torch import nn
from tmkd_deploy.training.fit import Schedule, fit
from tmkd_deploy.errors import EnvironmentProblem
from tmkd_deploy.events import SilentEvents

torch.set_num_threads(1)
weight = nn.Parameter(torch.ones(1))
sizes = []

def loss_of(step):
    sizes.append(len(step.indices))
    return (weight * torch.ones(len(step.indices), 1_000_000)).square().mean()

fit([weight], 2, Schedule(1, 2, 0.1, 0.0, 0), loss_of, SilentEvents(), "Warm-up")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 400_000_000,) * 2)
try:
    fit([weight], 200, Schedule(1, 100, 0.1, 0.0, 0), loss_of, SilentEvents(), "Test")
except EnvironmentProblem as error:
    print(error.problem)
    print(error.advice)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
def test_memory_that_is_used_up_names_a_batch_that_was_seen_to_fit():
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY], capture_output=True, text=True, check=True
    )
    problem, advice = done.stdout.splitlines()
    assert "used up by a batch of 100 images in 'Test'" in problem
    assert "GB were in use at most" in problem
    size = int(advice.partition("batch_size in the recipe to ")[2].partition(":")[0])
    # an image costs 4 MB in the forward pass and as much again for what is kept and sent back
    assert 10 <= size <= 60
