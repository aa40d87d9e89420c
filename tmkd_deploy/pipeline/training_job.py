"""What the stages that train have in common: threads, checkpoints, trackers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.runtime.cores import available_cores

if TYPE_CHECKING:
    from tmkd_deploy.pipeline.run_context import RunContext
    from tmkd_deploy.training.trainer_config import TrainerConfig

_CHECKPOINTS = "checkpoints"
_LOGS = "logs"


def trainer_config(context: RunContext, stage: str, fingerprint: str) -> TrainerConfig:
    """How the trainings of a stage run, by the recipe; checkpoints belong to its fingerprint."""
    from tmkd_deploy.training.checkpoint import Checkpoints
    from tmkd_deploy.training.tracking import Tracking
    from tmkd_deploy.training.trainer_config import TrainerConfig

    settings, is_main = context.recipe.training, context.process_group.is_main_process
    return TrainerConfig(
        settings.precision,
        settings.compile,
        Checkpoints(
            context.folder / _CHECKPOINTS,
            stage,
            fingerprint,
            settings.checkpoint_minutes,
            settings.checkpoint_steps,
            writes=is_main,
        ),
        Tracking(
            settings.trackers if is_main else (),
            context.folder / _LOGS / stage,
            context.recipe.name,
        ),
    )


def remove_checkpoints(context: RunContext, stage: str) -> None:
    """Remove what a finished or restarted stage left to resume from."""
    if context.process_group.is_main_process:
        for path in (context.folder / _CHECKPOINTS).glob(f"{stage}-*.pt"):
            path.unlink(missing_ok=True)


def set_threads(recipe: Recipe) -> None:
    """Give torch the recipe's number of threads, or this process's share of the cores."""
    import torch

    processes_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    share = max(1, available_cores() // processes_here)
    torch.set_num_threads(recipe.threads or share)
