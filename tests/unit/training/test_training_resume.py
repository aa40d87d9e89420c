"""A training that is interrupted at any step and resumed equals an uninterrupted one."""

import signal

import pytest
import torch

from tmkd_deploy.errors import DataError, RequestError
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.training.checkpoint import Checkpoints
from tmkd_deploy.training.fit import fit
from tmkd_deploy.training.schedule import Schedule
from tmkd_deploy.training.trainer_config import TrainerConfig

SCHEDULES = {
    "adamw": Schedule(4, 8, 0.01, 0.01, 3),
    "sgd": Schedule(4, 8, 0.1, 0.01, 3, "sgd", "multistep"),
}


class Said(SilentEvents):
    def __init__(self):
        self.lines = []

    def say(self, message):
        self.lines.append(message)


def network():
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1)
    )


INPUTS = torch.randn(30, 4, generator=torch.Generator().manual_seed(5))


def train(schedule, checkpoints=None, stop_at=None, signalled=None, events=None, broken_at=None):
    """The weights after training; it is cut short by an error before step `stop_at`."""
    model = network()
    numbers = []

    def loss_of(step):
        if step.number == stop_at:
            raise InterruptedError
        if step.number == signalled:
            signal.raise_signal(signal.SIGINT)
        model.train()
        numbers.append(step.number)
        noise = torch.rand(len(step.indices), 1, generator=step.random)
        scale = float("nan") if step.number == broken_at else 1.0
        return scale * (model(INPUTS[step.indices]) - noise).square().mean()

    trainer_config = TrainerConfig(checkpoints=checkpoints)
    events = events or Said()
    try:
        fit(
            model.parameters(),
            30,
            schedule,
            loss_of,
            events,
            "Test",
            modules=[model],
            trainer_config=trainer_config,
        )
    except InterruptedError:
        return None, numbers
    return {name: value.clone() for name, value in model.state_dict().items()}, numbers


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("stop_at", [1, 5, 9, 15])
def test_resuming_changes_nothing(tmp_path, kind, stop_at):
    schedule = SCHEDULES[kind]
    uninterrupted, numbers = train(schedule)
    assert numbers == list(range(16))
    checkpoints = Checkpoints(tmp_path, "distill", "f" * 64, every_steps=3)
    train(schedule, checkpoints, stop_at)
    events = Said()
    resumed, numbers = train(schedule, checkpoints, events=events)
    first = stop_at // 3 * 3
    assert numbers == list(range(first, 16))
    assert same(uninterrupted, resumed)
    if first:
        assert f"resuming from step {first} of 16" in events.lines[0]
        assert str(tmp_path) in events.lines[0]


def test_a_finished_training_is_not_done_again(tmp_path):
    checkpoints = Checkpoints(tmp_path, "distill", "f" * 64)
    uninterrupted, _ = train(SCHEDULES["adamw"], checkpoints)
    drawn = torch.rand(3)
    again, numbers = train(SCHEDULES["adamw"], checkpoints)
    assert numbers == [] and same(uninterrupted, again)
    assert torch.equal(torch.rand(3), drawn), "later random numbers depend on the resumed step"


def test_an_interrupt_leaves_a_checkpoint_of_the_step_it_came_in(tmp_path):
    schedule = SCHEDULES["adamw"]
    checkpoints = Checkpoints(tmp_path, "distill", "f" * 64)
    with pytest.raises(KeyboardInterrupt):
        train(schedule, checkpoints, signalled=6)
    resumed, numbers = train(schedule, checkpoints)
    assert numbers == list(range(7, 16))
    assert same(train(schedule)[0], resumed)


def test_a_process_that_only_reads_writes_nothing(tmp_path):
    train(SCHEDULES["adamw"], Checkpoints(tmp_path / "none", "distill", "f", writes=False))
    assert not (tmp_path / "none").exists()


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    train(SCHEDULES["adamw"], Checkpoints(tmp_path, "distill", "a" * 64))
    (file,) = tmp_path.iterdir()
    # under the other recipe's name it is not found ...
    other = Checkpoints(tmp_path, "distill", "b" * 64)
    assert other.for_training("Test").read() is None
    # ... and a renamed file is recognised by its content
    file.rename(other.for_training("Test").path)
    with pytest.raises(DataError, match="another recipe") as caught:
        train(SCHEDULES["adamw"], other)
    assert caught.value.where == str(other.for_training("Test").path)
    assert "Delete this file" in caught.value.advice


@pytest.mark.parametrize("damage", ["empty", "half", "other"])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    checkpoints = Checkpoints(tmp_path, "distill", "f" * 64)
    train(SCHEDULES["adamw"], checkpoints)
    path = checkpoints.for_training("Test").path
    content = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "half": content[: len(content) // 2], "other": b"GIF89a"}[damage]
    )
    with pytest.raises(DataError, match="cannot be read"):
        train(SCHEDULES["adamw"], checkpoints)


def test_a_failed_training_names_its_last_good_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path, "distill", "f" * 64, every_steps=3)
    with pytest.raises(RequestError, match=r"in epoch 2 of 'Test', at step 8 of 16") as caught:
        train(SCHEDULES["adamw"], checkpoints, broken_at=7)
    assert "the weights after step 6" in caught.value.advice
    assert caught.value.where == str(checkpoints.for_training("Test").path)
    state = checkpoints.for_training("Test").read()
    assert state["steps_done"] == 6
    assert all(torch.isfinite(value).all() for value in state["modules"][0].values())
