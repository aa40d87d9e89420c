"""A training that stops at any step and goes on is the training that never stopped."""

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


def train(schedule, kept=None, stop_at=None, signalled=None, events=None, broken_at=None):
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

    trainer_config = TrainerConfig(checkpoints=kept)
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
def test_going_on_changes_nothing(tmp_path, kind, stop_at):
    schedule = SCHEDULES[kind]
    whole, numbers = train(schedule)
    assert numbers == list(range(16))
    kept = Checkpoints(tmp_path, "distill", "f" * 64, every_steps=3)
    train(schedule, kept, stop_at)
    events = Said()
    resumed, numbers = train(schedule, kept, events=events)
    begun = stop_at // 3 * 3
    assert numbers == list(range(begun, 16))
    assert same(whole, resumed)
    if begun:
        assert f"goes on from step {begun} of 16" in events.lines[0]
        assert str(tmp_path) in events.lines[0]


def test_a_finished_training_is_not_done_again(tmp_path):
    kept = Checkpoints(tmp_path, "distill", "f" * 64)
    whole, _ = train(SCHEDULES["adamw"], kept)
    drawn = torch.rand(3)
    again, numbers = train(SCHEDULES["adamw"], kept)
    assert numbers == [] and same(whole, again)
    assert torch.equal(torch.rand(3), drawn), "what is drawn next depends on where it began"


def test_an_interrupt_leaves_a_checkpoint_of_the_step_it_came_in(tmp_path):
    schedule = SCHEDULES["adamw"]
    kept = Checkpoints(tmp_path, "distill", "f" * 64)
    with pytest.raises(KeyboardInterrupt):
        train(schedule, kept, signalled=6)
    resumed, numbers = train(schedule, kept)
    assert numbers == list(range(7, 16))
    assert same(train(schedule)[0], resumed)


def test_a_process_that_only_reads_writes_nothing(tmp_path):
    train(SCHEDULES["adamw"], Checkpoints(tmp_path / "none", "distill", "f", writes=False))
    assert not (tmp_path / "none").exists()


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    train(SCHEDULES["adamw"], Checkpoints(tmp_path, "distill", "a" * 64))
    (file,) = tmp_path.iterdir()
    # under the other recipe's name it is simply not found ...
    other = Checkpoints(tmp_path, "distill", "b" * 64)
    assert other.of("Test").read() is None
    # ... and if somebody renames it, it is told apart by what is in it
    file.rename(other.of("Test").path)
    with pytest.raises(DataError, match="another recipe") as caught:
        train(SCHEDULES["adamw"], other)
    assert caught.value.where == str(other.of("Test").path)
    assert "Delete this file" in caught.value.advice


@pytest.mark.parametrize("damage", ["empty", "half", "other"])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    kept = Checkpoints(tmp_path, "distill", "f" * 64)
    train(SCHEDULES["adamw"], kept)
    path = kept.of("Test").path
    content = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "half": content[: len(content) // 2], "other": b"GIF89a"}[damage]
    )
    with pytest.raises(DataError, match="cannot be read"):
        train(SCHEDULES["adamw"], kept)


def test_a_failed_training_names_its_last_good_checkpoint(tmp_path):
    kept = Checkpoints(tmp_path, "distill", "f" * 64, every_steps=3)
    with pytest.raises(RequestError, match=r"in epoch 2 of 'Test', at step 8 of 16") as caught:
        train(SCHEDULES["adamw"], kept, broken_at=7)
    assert "after step 6 are kept" in caught.value.advice
    assert caught.value.where == str(kept.of("Test").path)
    state = kept.of("Test").read()
    assert state["steps_done"] == 6
    assert all(torch.isfinite(value).all() for value in state["modules"][0].values())
