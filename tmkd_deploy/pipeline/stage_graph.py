"""The stage graph: every stage by its name, in the order of the work."""

from __future__ import annotations

from typing import Any

from tmkd_deploy.pipeline.stage import Stage
from tmkd_deploy.pipeline.stages.build import Build
from tmkd_deploy.pipeline.stages.bundle import Bundle
from tmkd_deploy.pipeline.stages.distill import Distill
from tmkd_deploy.pipeline.stages.export import Export
from tmkd_deploy.pipeline.stages.gate import Gate
from tmkd_deploy.pipeline.stages.measure import Measure
from tmkd_deploy.pipeline.stages.post_training import PostTraining
from tmkd_deploy.pipeline.stages.prepare import Prepare
from tmkd_deploy.pipeline.stages.quantize import Quantize
from tmkd_deploy.pipeline.stages.report import Report
from tmkd_deploy.pipeline.stages.score_views import ScoreViews
from tmkd_deploy.pipeline.stages.sensitivity import Sensitivity
from tmkd_deploy.pipeline.stages.train_teacher import TrainTeacher

_IN_ORDER: tuple[type[Stage[Any]], ...] = (
    Prepare,
    TrainTeacher,
    ScoreViews,
    Distill,
    Sensitivity,
    Quantize,
    Export,
    PostTraining,
    Build,
    Measure,
    Gate,
    Bundle,
    Report,
)
STAGES: dict[str, type[Stage[Any]]] = {stage.name: stage for stage in _IN_ORDER}
