"""measure: accuracy and latency of every engine of a target, beside the teacher's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tmkd_deploy.data.prepared import PreparedData, Split, images_name
from tmkd_deploy.engines.device_build import TEACHER, engine_file_name
from tmkd_deploy.pipeline.resolved_target import ResolvedTarget
from tmkd_deploy.pipeline.stage import Job, Ref, Stage, to_jsonable
from tmkd_deploy.pipeline.teacher_inputs import student_inputs
from tmkd_deploy.pipeline.training_job import set_threads
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.records.onnx_model import MODEL

if TYPE_CHECKING:
    from tmkd_deploy.measure.bench import Bench, EngineUnderTest
    from tmkd_deploy.measure.measure import InTorch


class Measure(Stage[ResolvedTarget]):
    """Measures here, on the attached device, or the ONNX files alone where nothing runs engines."""

    name = "measure"
    record_type = Measurements

    def params(self) -> dict[str, Any]:
        """The protocol, the images and frames, how they are decided on, and the machine."""
        recipe = self.context.recipe
        return {
            "seed": recipe.seed,
            "measure": to_jsonable(recipe.measure),
            "split": self.subject.judged_on,
            "decision": to_jsonable(recipe.decision),
            "machine": self.subject.machine,
            # frames are timed with the engines that may ship
            "frame": self.subject.frame and [self.subject.frame, sorted(self.subject.precisions)],
            "near_duplicates": recipe.data.near_duplicates,
        }

    def inputs(self) -> dict[str, Ref]:
        target = self.subject
        inputs = {
            **student_inputs(self.context.recipe),
            "engines": Ref("build", target),
            **{f"onnx {name}": Ref("export", each) for name, each in target.variants.items()},
        }
        if target.times_teacher:
            inputs["onnx teacher"] = Ref("export", target.teacher_variant)
        if self.context.recipe.quantize.enabled:
            inputs["quantized"] = Ref("quantize")
        if target.compares_post_training:
            inputs["compared"] = Ref("post_training")
        return inputs

    def run(self, job: Job) -> Measurements:
        from tmkd_deploy.measure.measure import engines_under_test, measure

        target, engines = self.subject, job.inputs["engines"]
        data = PreparedData.load(job.inputs["data"])
        in_torch = self._in_torch(job, data)
        files = {
            name.removeprefix("onnx "): artifact.path(MODEL)
            for name, artifact in job.inputs.items()
            if name.startswith("onnx ")
        }
        teacher = files.pop(TEACHER, None)
        if target.teacher_engine_is_built:
            teacher = engines.path(engine_file_name(TEACHER, engines.record.runtime))
        under_test = engines_under_test(
            engines, teacher, job.inputs.get("compared"), given=in_torch.given
        )
        with self._bench(job, data, under_test) as bench:
            return measure(
                self.context.recipe,
                data,
                target.judged_on,
                in_torch,
                engines.record,
                files,
                bench,
                job.folder,
                self.context.events,
            )

    def _in_torch(self, job: Job, data: PreparedData) -> InTorch:
        from tmkd_deploy.distill.distill import Student
        from tmkd_deploy.distill.train_teacher import Teachers
        from tmkd_deploy.measure.measure import Models, in_torch
        from tmkd_deploy.quantize.quantize import read_control, read_quantized

        recipe, quantized = self.context.recipe, job.inputs.get("quantized")
        with self.context.torch_lock:
            set_threads(recipe)
            student = Student.load(job.inputs["student"], recipe, data)
            models = Models(
                Teachers.load(job.inputs["teacher"], job.inputs.get("view_scores"), recipe, data),
                student,
                student.other(recipe, data),
                read_quantized(quantized, recipe, data) if quantized else None,
                read_control(quantized, recipe, data) if quantized else None,
                quantized is not None and quantized.record.ships == "fine_tuned",
            )
            target = self.subject
            return in_torch(
                models, data, target.judged_on, target.runtime.quant_scheme, recipe.decision
            )

    @contextmanager
    def _bench(
        self, job: Job, data: PreparedData, engines: Mapping[str, EngineUnderTest]
    ) -> Iterator[Bench | None]:
        """Where the engines run; None where nothing at hand runs them."""
        from tmkd_deploy.measure.bench import DeviceBench, LocalBench
        from tmkd_deploy.measure.frame import FrameTiming

        target, settings = self.subject, self.context.recipe.measure
        splits: tuple[Split, ...] = ("val", "test")
        if target.device:
            files = {split: job.inputs["data"].path(images_name(split)) for split in splits}
            with self.context.devices.locked(target.device) as device:
                yield DeviceBench(engines, files, settings, device)
        elif target.runs_engines:
            images = {split: data.images(split) for split in splits}
            built = job.inputs["engines"].record.engines
            may_ship = [each.name for each in built if each.precision in target.precisions]
            frame = target.frame and FrameTiming(
                *target.frame, may_ship, data.record.preprocessing, data.class_names
            )
            yield LocalBench(engines, images, settings, self.context.events, frame)
        else:
            yield None
