"""Training metrics, read back from the trackers' files."""

import sys

import pytest
import torch

from tmkd_deploy.errors import MissingExtra
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.training.fit import fit
from tmkd_deploy.training.schedule import Schedule
from tmkd_deploy.training.tracking import Tracking
from tmkd_deploy.training.trainer_config import TrainerConfig


def train(tracking):
    weight = torch.nn.Parameter(torch.ones(1))
    fit(
        [weight],
        40,
        Schedule(5, 4, 0.01, 0.0, 0),
        lambda _: weight.square().sum(),
        SilentEvents(),
        "Distilling a test",
        terms=lambda: {"labels": weight.detach().square().sum()},
        trainer_config=TrainerConfig(tracking=tracking),
        final_metrics=lambda: {"top1": 0.5},
    )


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(Tracking(["tensorboard"], tmp_path))
    events = EventAccumulator(str(tmp_path / "distilling-a-test"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {
        "loss",
        "term/labels",
        "learning_rate",
        "images_per_second",
        "top1",
    }
    assert [each.step for each in events.Scalars("loss")] == [20, 40, 50]
    losses = [each.value for each in events.Scalars("loss")]
    assert losses == sorted(losses, reverse=True) and losses[0] < 1
    assert all(each.value > 0 for each in events.Scalars("images_per_second"))


def test_mlflow(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    train(Tracking(["mlflow"], tmp_path, "a recipe"))
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("tmkd-deploy")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "a recipe distilling-a-test" and run.info.status == "FINISHED"
    assert [each.step for each in client.get_metric_history(run.info.run_id, "loss")] == [
        20,
        40,
        50,
    ]


@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow"])
def test_a_missing_tracker_names_its_extra(tmp_path, monkeypatch, tracker):
    monkeypatch.setitem(sys.modules, tracker, None)
    with pytest.raises(MissingExtra, match=tracker) as caught:
        train(Tracking([tracker], tmp_path))
    assert "tmkd-deploy[track]" in caught.value.advice


def test_nothing_is_written_by_default(tmp_path):
    train(Tracking(folder=tmp_path))
    assert list(tmp_path.iterdir()) == []
