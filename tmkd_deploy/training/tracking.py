"""Figures of a training, for TensorBoard and MLflow."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from tmkd_deploy.errors import MissingExtra

Tracker = Literal["tensorboard", "mlflow"]


class Track(Protocol):
    """Where the figures of one training go."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write named figures, `step` steps being done."""

    def close(self) -> None:
        """Write what is held back."""


@dataclass(frozen=True)
class Tracking:
    """What is asked to follow the trainings of one stage: nothing by default.

    TensorBoard's files go into `folder/<training>`. MLflow takes its server from the environment
    variable MLFLOW_TRACKING_URI; `run` names the run there.
    """

    trackers: Sequence[Tracker] = ()
    folder: Path = field(default_factory=Path)
    run: str = ""

    def begin(self, training: str, step: int) -> Track:
        """Follow one training from `step` on; later figures of an interrupted attempt are hidden.

        Raises:
            MissingExtra: a tracker is asked for and not installed.
        """
        name = re.sub(r"[^a-z0-9]+", "-", training.lower()).strip("-")
        makers: dict[Tracker, Callable[[Tracking, str, int], Track]] = {
            "tensorboard": _TensorBoard,
            "mlflow": _Mlflow,
        }
        return _All([makers[each](self, name, step) for each in self.trackers])


class _All:
    def __init__(self, tracks: Sequence[Track]) -> None:
        self._tracks = tracks

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for track in self._tracks:
            track.scalars(step, values)

    def close(self) -> None:
        for track in self._tracks:
            track.close()


class _TensorBoard:
    def __init__(self, tracking: Tracking, name: str, step: int) -> None:
        _import("tensorboard", "TensorBoard")
        module: Any = importlib.import_module("torch.utils.tensorboard")
        self._writer = module.SummaryWriter(str(tracking.folder / name), purge_step=step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Mlflow:
    def __init__(self, tracking: Tracking, name: str, step: int) -> None:
        mlflow = _import("mlflow", "MLflow")
        self._client = mlflow.MlflowClient()
        experiment = mlflow.set_experiment("tmkd-deploy")
        title = f"{tracking.run} {name}".strip()
        made = self._client.create_run(experiment.experiment_id, run_name=title)
        self._run = made.info.run_id

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    def close(self) -> None:
        self._client.set_terminated(self._run)


def _import(package: str, name: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtra(f"Tracking with {name}", "track", package) from error
