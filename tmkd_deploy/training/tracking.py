"""Training metrics for TensorBoard and MLflow."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from tmkd_deploy.errors import MissingExtra

Tracker = Literal["tensorboard", "mlflow"]


class MetricWriter(Protocol):
    """Receives the metrics of one training."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write metrics by name, after `step` completed steps."""

    def close(self) -> None:
        """Flush and close."""


@dataclass(frozen=True)
class Tracking:
    """Which trackers record the trainings of one stage; none by default.

    TensorBoard writes to `folder/<training>`. MLflow takes its server from the environment variable
    MLFLOW_TRACKING_URI; `run` prefixes the run's name there.
    """

    trackers: Sequence[Tracker] = ()
    folder: Path = field(default_factory=Path)
    run: str = ""

    def start(self, training: str, step: int) -> MetricWriter:
        """Record one training from `step` on; TensorBoard hides an interrupted run's later metrics.

        Raises:
            MissingExtra: a configured tracker is not installed.
        """
        name = re.sub(r"[^a-z0-9]+", "-", training.lower()).strip("-")
        writers: dict[Tracker, Callable[[Tracking, str, int], MetricWriter]] = {
            "tensorboard": _TensorBoard,
            "mlflow": _Mlflow,
        }
        return _Combined([writers[each](self, name, step) for each in self.trackers])


class _Combined:
    def __init__(self, writers: Sequence[MetricWriter]) -> None:
        self._writers = writers

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for writer in self._writers:
            writer.log(step, metrics)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


class _TensorBoard:
    def __init__(self, tracking: Tracking, name: str, step: int) -> None:
        _import("tensorboard", "TensorBoard")
        module: Any = importlib.import_module("torch.utils.tensorboard")
        self._writer = module.SummaryWriter(str(tracking.folder / name), purge_step=step)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Mlflow:
    def __init__(self, tracking: Tracking, name: str, step: int) -> None:
        mlflow = _import("mlflow", "MLflow")
        self._client = mlflow.MlflowClient()
        experiment = mlflow.set_experiment("tmkd-deploy")
        title = f"{tracking.run} {name}".strip()
        run = self._client.create_run(experiment.experiment_id, run_name=title)
        self._run = run.info.run_id

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._client.log_metric(self._run, name, value, step=step)

    def close(self) -> None:
        self._client.set_terminated(self._run)


def _import(package: str, name: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtra(f"Tracking with {name}", "track", package) from error
