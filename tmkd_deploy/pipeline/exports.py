"""The ONNX files of a run: what each target is built from, and what is compared with that."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from tmkd_deploy.artifacts import Artifact
from tmkd_deploy.engines.device_build import TEACHER, tensorrt_release
from tmkd_deploy.engines.interface import Runtime
from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.engines.variants import variants_for
from tmkd_deploy.pipeline.reach import Inputs, plain
from tmkd_deploy.pipeline.training import Training
from tmkd_deploy.recipe.schema import Target
from tmkd_deploy.records.onnx_model import MODEL, ComparedRecord, OnnxRecord, Variant
from tmkd_deploy.runtime.onnxruntime_session import precise_int8_default
from tmkd_deploy.targets import catalog as profiles


class Exports:
    """From the models of a training to ONNX files."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.reach = training.reach
        self.recipe = training.recipe

    def onnx(self, target: Target) -> dict[str, Artifact[OnnxRecord]]:
        """The ONNX file of each precision, and the teacher's where engines can be run."""
        files = {name: self._exported(found[0]) for name, found in self._variants(target).items()}
        if target.device or runtime_of(target).runs_here:
            opset = next(iter(self._variants(target).values()))[0].opset
            files[TEACHER] = self._exported(Variant("teacher", "fp32", opset=opset))
        return files

    def older_onnx(self, target: Target) -> dict[str, Artifact[OnnxRecord]]:
        """The files that a build kit holds beside those, for devices with an older release."""
        found = self._variants(target).items()
        return {name: self._exported(files[1]) for name, files in found if len(files) > 1}

    def compared(self, target: Target) -> Artifact[ComparedRecord] | None:
        """The student quantized in other ways, where the recipe asks and its runtime runs them."""
        recipe = self.recipe
        asked = recipe.quantize.enabled and recipe.quantize.compare
        if not asked or runtime_of(target).name != "onnxruntime":
            return None
        fp32 = self._exported(Variant("student", "fp32"))
        asks = {
            "seed": recipe.seed,
            "student": plain(recipe.student),
            "quantize": plain(recipe.quantize),
            "export": plain(recipe.export),
            "versions": [version_of("onnxruntime"), version_of("nvidia-modelopt")],
            "precise": precise_int8_default(),
        }
        inputs: Inputs = {
            "data": self.training.prepared,
            "student": self.training.student,
            "fp32": fp32,
        }

        def make(folder: Path) -> ComparedRecord:
            from tmkd_deploy.export.post_training import compare_post_training  # noqa: PLC0415

            return compare_post_training(
                recipe,
                self.training.load_data(),
                self.training.load_student(),
                fp32.path(MODEL),
                folder,
                self.reach.events,
            )

        rooms = ("models", "quantize", "export", "records/quant_scheme.py")
        return self.reach.stage("post_training", ComparedRecord, asks, inputs, rooms, make)

    def _variants(self, target: Target) -> dict[str, list[Variant]]:
        """The ONNX files of each precision that is built, the main one first.

        Floating-point siblings are built and measured beside an INT8 engine, asked for or not.
        """
        profile, asked = profiles.get(target.target), target.precisions or []
        release = None
        if target.device:
            release = tensorrt_release(self.reach.attached.facts(target.device))
        built = [each for each in profile.precisions if each in asked or each != "int8"]
        return {precision: variants_for(profile, precision, release) for precision in built}

    def _exported(self, variant: Variant) -> Artifact[OnnxRecord]:
        recipe = self.recipe
        asks = {
            "variant": variant.name,
            "export": plain(recipe.export),
            "teacher": recipe.teacher.visual.model,
            "student": plain(recipe.student),
        }
        inputs: Inputs = {"data": self.training.prepared}
        if variant.model == "teacher":
            inputs["teacher"] = self.training.teacher
        elif variant.precision == "int8":
            inputs["quantized"] = self.training.quantized
        else:
            inputs["student"] = self.training.student

        def make(folder: Path) -> OnnxRecord:
            from tmkd_deploy.export.export import export  # noqa: PLC0415

            if variant.model == "teacher":
                model = self.training.load_visual_teacher()
            elif variant.precision == "int8":
                model = self.training.load_quantized()
            else:
                model = self.training.load_student().classifier
            return export(
                recipe, self.training.load_data(), model, variant, folder, self.reach.events
            )

        rooms = ("models", "quantize", "export", "records/quant_scheme.py")
        return self.reach.stage("export", OnnxRecord, asks, inputs, rooms, make, variant.name)


def runtime_of(target: Target) -> Runtime:
    """The runtime that a target's engines are made for."""
    return runtime(profiles.get(target.target).runtime)


def version_of(package: str | None) -> str:
    """The version of an installed package; empty where there is none to name."""
    try:
        return importlib.metadata.version(package) if package else ""
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
