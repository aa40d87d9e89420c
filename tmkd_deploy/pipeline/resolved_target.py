"""A target as the stages see it: everything about it looked up once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tmkd_deploy.data.split_names import Split
from tmkd_deploy.records.onnx_model import Variant
from tmkd_deploy.records.types import Precision

if TYPE_CHECKING:
    from tmkd_deploy.engines.interface import Runtime
    from tmkd_deploy.recipe.deployment import Preference
    from tmkd_deploy.recipe.schema import Budgets
    from tmkd_deploy.targets.racing import Race
    from tmkd_deploy.targets.target_profile import TargetProfile


@dataclass(frozen=True, eq=False)
class ResolvedTarget:
    """A target of the recipe with its profile, its runtimes and the ONNX files it is built from.

    `runtime` is its own; every runtime of the `race` builds an engine from every file.
    `precisions` may ship, the preferred first. `variants` has the ONNX file of every precision that
    is built; floating-point ones are built beside an INT8 engine whether asked for or not.
    `older_variants` are those that a build kit holds for devices with an older release.
    `device` is the address of the attached device, None where there is none. `machine` describes
    what runs the engines: the device, or this machine; None where nothing at hand does.
    `despite_verdict` bundles the engine although its gate failed. `prefer` decides among engines
    with equally good verdicts.
    `judged_on` is the split they are measured on: the test split, except in a search among engines.
    `frame` is the width and height of the frames that are timed, None for none.
    `has_teacher` is False where the student was given, so that there is no other model to time.
    """

    name: str
    profile: TargetProfile
    runtime: Runtime
    race: Race
    budgets: Budgets
    precisions: list[Precision]
    variants: dict[str, Variant]
    older_variants: dict[str, Variant]
    device: str | None
    dla_core: int | None
    machine: dict[str, Any] | None
    compares_post_training: bool
    despite_verdict: bool
    prefer: Preference
    judged_on: Split = "test"
    frame: tuple[int, int] | None = None
    has_teacher: bool = True

    @property
    def runs_engines(self) -> bool:
        """Whether its engines can be run, here or on the attached device."""
        return self.device is not None or self.runtime.runs_here

    @property
    def needs_kit(self) -> bool:
        """Whether its engines have yet to be built on a device that is not attached."""
        return self.runtime.name == "tensorrt" and self.device is None

    @property
    def times_teacher(self) -> bool:
        """Whether a teacher is timed beside the engines."""
        return self.runs_engines and self.has_teacher

    @property
    def teacher_variant(self) -> Variant:
        """The teacher's ONNX file, which is timed beside the engines."""
        return Variant("teacher", "fp32", opset=next(iter(self.variants.values())).opset)

    @property
    def teacher_engine_is_built(self) -> bool:
        """Whether the teacher needs an engine of its own, because its ONNX file is none."""
        return self.has_teacher and self.device is not None and not self.runtime.engine_is_onnx

    @property
    def all_variants(self) -> list[Variant]:
        """Every ONNX file that the target needs."""
        teacher = [self.teacher_variant] if self.times_teacher else []
        return [*self.variants.values(), *self.older_variants.values(), *teacher]
