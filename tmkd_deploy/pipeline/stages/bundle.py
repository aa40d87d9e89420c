"""bundle: the engine that ships, in one file for an application."""

from __future__ import annotations

from typing import Any

import numpy as np

from tmkd_deploy.artifacts import Artifact
from tmkd_deploy.bundle.pack import ONNX_MEMBER, clearest_images, pack
from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.pipeline.resolved_target import ResolvedTarget
from tmkd_deploy.pipeline.stage import Job, Ref, Stage
from tmkd_deploy.records.bundle import BundleRecord
from tmkd_deploy.records.engine_names import engine_title
from tmkd_deploy.records.measurements import EngineFile
from tmkd_deploy.records.onnx_model import MODEL
from tmkd_deploy.records.verdict import GateRecord
from tmkd_deploy.runtime import BuildRecipe, MadeFor
from tmkd_deploy.runtime.decision import Decision

_GOLDEN_IMAGES = 4
# how far a golden output may differ from the recorded one on another processor, in logits
_GOLDEN_TOLERANCE = {"fp32": 0.01, "fp16": 0.1, "bf16": 0.5, "int8": 0.5}


def withheld(gate: GateRecord) -> BundleRecord:
    """What is recorded in place of a bundle where the gate failed."""
    target, engine = gate.measurements.target, gate.engine
    return BundleRecord(
        target=target,
        precision=engine.precision,
        runtime=engine.runtime,
        gate=gate.verdict.outcome,
        withheld=f"Nothing is bundled for {target}: its gate failed. The "
        f"{engine_title(engine.name)} engine would have shipped; to bundle it all the same, add "
        f"--set targets.{target}.despite_verdict=true.",
    )


class Bundle(Stage[ResolvedTarget]):
    """Only for targets whose engine exists; see `ResolvedTarget.needs_kit`.

    Where the gate failed, the artifact holds no bundle, and an earlier one is gone.
    """

    name = "bundle"
    record_type = BundleRecord

    def params(self) -> dict[str, Any]:
        """The recipe's name, which the file carries, and whether the verdict counts."""
        return {
            "name": self.context.recipe.name,
            "despite_verdict": self.subject.despite_verdict,
        }

    def inputs(self) -> dict[str, Ref]:
        return {
            "data": Ref("prepare"),
            "measured": Ref("measure", self.subject),
            "gate": Ref("gate", self.subject),
            "engines": Ref("build", self.subject),
            **self._models(),
        }

    def _models(self) -> dict[str, Ref]:
        """The ONNX files that engines are built from again on another machine."""
        if self.subject.runtime.engine_is_onnx:
            return {}
        variants = self.subject.variants
        return {f"onnx {name}": Ref("export", each) for name, each in variants.items()}

    def run(self, job: Job) -> BundleRecord:
        gate, prepared = job.inputs["gate"].record, job.inputs["data"]
        if gate.shipped is None and not self.subject.despite_verdict:
            return withheld(gate)
        measurements = gate.measurements
        engine = gate.engine
        logits_file = job.inputs["measured"].path(f"logits-{engine.name}.npy")
        logits = np.load(logits_file, allow_pickle=False)
        decision = Decision.of(measurements.class_names, gate.guarded_class, gate.threshold)
        golden = clearest_images(logits, _GOLDEN_IMAGES, decision)
        return pack(
            name=self.context.recipe.name,
            engine=job.inputs["engines"].path(engine.file),
            precision=engine.precision,
            runtime=engine.runtime or measurements.runtime,
            measurements=measurements,
            verdict=gate.verdict,
            class_names=measurements.class_names,
            preprocessing=prepared.record.preprocessing,
            golden_images=np.asarray(PreparedData.load(prepared).images("test")[golden]),
            golden_logits=logits[golden],
            golden_tolerance=_GOLDEN_TOLERANCE[engine.precision],
            into=job.folder,
            decision=decision,
            **_elsewhere(engine, job.inputs.get(f"onnx {engine.precision}")),
        )


def _elsewhere(engine: EngineFile, model: Artifact[Any] | None) -> dict[str, Any]:
    """What `pack` is told of an engine that is tied to a machine; nothing of any other."""
    tied_to = engine.tied_to
    if tied_to is None or model is None:
        return {}
    made_for = MadeFor(tied_to.release, tied_to.compute_capability, tied_to.dla_core)
    if tied_to.dla_core is not None:
        # a DLA's file and its calibration cache are for one release, so it is built from the desk
        return {"made_for": made_for}
    return {
        "made_for": made_for,
        "build": BuildRecipe(
            onnx=ONNX_MEMBER,
            precision=engine.precision,
            typing=tied_to.typing,
            workspace_mb=tied_to.workspace_mb,
            dla_core=tied_to.dla_core,
        ),
        "onnx": model.path(MODEL),
    }
