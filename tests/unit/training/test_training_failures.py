"""Failed trainings report what happened, where, and what to do."""

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


def checked(losses, device=CPU, gradient=1.0):
    detector = DivergenceDetector("Test", len(losses), device)
    for number, loss in enumerate(losses):
        detector.update(
            StepResult(number, number // 10, 8, torch.tensor(loss), torch.tensor(gradient), {})
        )
    return detector.check()


def test_an_exploding_loss_is_reported():
    with pytest.raises(
        RequestError, match=r"exploded to 200, from a median of 4 .* at step 39 of 60"
    ):
        checked([4.0] * 29 + [200.0] * 31)


@pytest.mark.parametrize(
    "losses",
    [
        [4.0] * 30 + [1e6] * 9 + [4.0] * 30,  # a few bad batches
        [1e-4] * 30 + [0.5] * 50,  # noise near zero
        [6.0] * 30 + [60.0] * 50,  # the teacher terms reach their full weight
    ],
)
def test_what_is_no_explosion(losses):
    checked(losses)


def test_a_gpu_is_synchronised_only_once_per_window():
    detector = DivergenceDetector("Test", 100, torch.device("cuda"))
    counts = [
        len(detector.update(StepResult(number, 0, 8, torch.tensor(1.0), None, {})))
        for number in range(45)
    ]
    assert counts == [20 if number in (19, 39) else 0 for number in range(45)]
    assert len(detector.check()) == 5
    with pytest.raises(RequestError, match="at step 4 of 10"):
        checked([1.0, 1.0, 1.0, math.nan, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], torch.device("cuda"))


def test_a_gradient_that_is_not_finite_is_reported_before_it_is_applied():
    weight = torch.nn.Parameter(torch.zeros(2))

    def loss_of(step):
        # the square root has an infinite slope at zero while the loss is finite
        return weight.sum().sqrt() if step.number == 1 else 0.0 * weight.sum()

    schedule = Schedule(1, 4, 0.1, 0.0, 0)
    with pytest.raises(RequestError, match="gradient norm became"):
        fit([weight], 8, schedule, loss_of, SilentEvents(), "Test")
    assert torch.isfinite(weight).all()


def test_the_term_that_went_wrong_is_named():
    weight = torch.nn.Parameter(torch.ones(2))
    terms = {"labels": torch.tensor(1.0), "features": torch.tensor(math.nan)}
    with pytest.raises(RequestError, match=r"became nan \(term features\)"):
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
from tmkd_deploy.training.fit import fit
from tmkd_deploy.training.schedule import Schedule
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
def test_running_out_of_memory_suggests_a_batch_that_fits():
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY], capture_output=True, text=True, check=True
    )
    problem, advice = done.stdout.splitlines()
    assert "Out of memory with a batch of 100 images in 'Test'" in problem
    assert "peak use was" in problem and problem.endswith(" GB.")
    size = int(advice.partition("batch_size in the recipe to ")[2].partition(":")[0])
    # an image costs 4 MB in the forward pass, and as much again for saved tensors and gradients
    assert 10 <= size <= 60
