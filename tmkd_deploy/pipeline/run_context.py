"""What all stages of one run share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmkd_deploy.artifacts import Artifact, Record
from tmkd_deploy.events import Events
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.quant_scheme import QuantScheme

if TYPE_CHECKING:
    from tmkd_deploy.devices.attached_devices import AttachedDevices
    from tmkd_deploy.pipeline.planned_stage import PlannedStage
    from tmkd_deploy.pipeline.resolved_target import ResolvedTarget
    from tmkd_deploy.training.process_group import SingleProcess


@dataclass(frozen=True)
class StageResult:
    """What became of one stage; `reused` when its artifact was fresh and nothing ran.

    `hidden` as in `Stage`.
    """

    stage: str
    target: str | None
    reused: bool
    folder: Path
    seconds: float
    record: Record
    hidden: bool = False


@dataclass
class RunContext:
    """One run: what was asked for, who takes part, and what has been done so far.

    `force` names a stage to run although it is fresh, `only` one to run on artifacts that are taken
    as the run folder holds them. `quant_scheme` is that of the recipe's first target, for which the
    student is quantized. `note` is a sentence for the report. `positions` numbers the stages of the
    run from 1, for messages, and `planned` says how long they will take. `torch_lock` is held
    while torch.fx may trace: it replaces `Module.__call__` for the whole process.
    """

    recipe: Recipe
    folder: Path
    events: Events
    devices: AttachedDevices
    process_group: SingleProcess
    quant_scheme: QuantScheme
    force: str | None = None
    only: str | None = None
    targets: list[ResolvedTarget] = field(default_factory=list)
    note: str | None = None
    positions: dict[tuple[str, str | None], int] = field(default_factory=dict)
    planned: list[PlannedStage] = field(default_factory=list)
    artifacts: dict[tuple[str, str | None], Artifact[Any]] = field(default_factory=dict)
    results: list[StageResult] = field(default_factory=list)
    torch_lock: threading.Lock = field(default_factory=threading.Lock)
