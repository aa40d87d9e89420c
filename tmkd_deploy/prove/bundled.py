"""A bundle of an engine that a device has built, to run it there as an application does."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from tmkd_deploy.agent.build.preflight import sm_of
from tmkd_deploy.bundle.pack import ONNX_MEMBER, clearest_images, pack
from tmkd_deploy.prove.built import Built
from tmkd_deploy.prove.images import CLASSES
from tmkd_deploy.prove.workbench import Workbench
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.records.types import Precision
from tmkd_deploy.records.verdict import Outcome, Verdict
from tmkd_deploy.runtime.manifest_engine import BuildRecipe, MadeFor
from tmkd_deploy.runtime.preprocess import Preprocessing

_GOLDEN_IMAGES = 8
# of the largest logit: what other processors and kernels may round differently
_TOLERANCE = 0.1
# no device has this release
_ELSEWHERE = MadeFor("7.0.0", 72, None)
_WHY = "This bundle is for a proof."


def bundle(
    bench: Workbench, built: Built, precision: Precision, *, elsewhere: bool = False
) -> tuple[Path, np.ndarray]:
    """Pack an engine of the device; returns the bundle, and its logits of the test images.

    With `elsewhere`, the bundle says that its engine was made on another device, and holds what it
    takes to build it.

    Raises:
        TmkdError: the engine does not run, or cannot be fetched.
    """
    images = np.load(bench.test_images, allow_pickle=False)
    logits = bench.logits(built.engine, built.runtime, bench.test_images).astype(np.float32)
    chosen = clearest_images(logits, _GOLDEN_IMAGES)
    folder = bench.folder / f"bundle-{built.runtime}"
    folder.mkdir(exist_ok=True)
    if built.runtime == "onnxruntime":
        engine = folder / "engine.onnx"
        shutil.copyfile(built.model, engine)
    else:
        engine = folder / "engine.engine"
        bench.device.download(built.engine, engine)
    names = [f"stripes {number}" for number in range(CLASSES)]
    target = bench.profile.name if bench.profile else "cpu"
    record = pack(
        name="proof",
        engine=engine,
        precision=precision,
        runtime=built.runtime,
        measurements=Measurements(
            target=target,
            runtime=built.runtime,
            class_names=names,
            test_images=len(images),
            engines=[],
            ledger=[],
            confusion_by_engine={},
            latency=None,
            not_measured=_WHY,
            teacher_parameters=0,
            student_parameters=0,
        ),
        verdict=Verdict(target=target, outcome=Outcome.NOT_JUDGED, checks=[], not_judged=_WHY),
        class_names=names,
        preprocessing=Preprocessing(bench.side, bench.side),
        golden_images=images[chosen],
        golden_logits=logits[chosen],
        golden_tolerance=_TOLERANCE * float(np.abs(logits).max()),
        into=folder,
        made_for=_ELSEWHERE if elsewhere else _made_for(built),
        build=_recipe(bench, precision) if elsewhere else None,
        onnx=built.model if elsewhere else None,
    )
    assert record.file is not None  # of an engine that was packed
    return folder / record.file, logits


def _made_for(built: Built) -> MadeFor | None:
    """What a plan is tied to; None for an engine of ONNX Runtime."""
    if built.runtime == "onnxruntime":
        return None
    capability = sm_of(built.sidecar["device"]["sm"])
    release = str(built.sidecar["versions"]["runtime"])
    return None if capability is None else MadeFor(release, capability, None)


def _recipe(bench: Workbench, precision: Precision) -> BuildRecipe:
    workspace = bench.profile.workspace_mb if bench.profile else None
    return BuildRecipe(ONNX_MEMBER, precision, bench.typing, workspace, None)
