"""The measure stage: accuracy and latency of the engines of a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tmkd_deploy.artifacts import Artifact
from tmkd_deploy.data.prepared import PreparedData, Split
from tmkd_deploy.distill.distill import Student
from tmkd_deploy.distill.train_teacher import Teachers
from tmkd_deploy.engines.device_build import TEACHER
from tmkd_deploy.events import Events
from tmkd_deploy.measure.bench import Bench, EngineUnderTest
from tmkd_deploy.measure.checked_engines import CheckedEngines
from tmkd_deploy.measure.data_concerns import concerns
from tmkd_deploy.measure.ledger import Entry, confusion_matrix, ledger
from tmkd_deploy.measure.threshold import Guard, check_guarded_class, decided
from tmkd_deploy.measure.unusable import none_usable
from tmkd_deploy.models.classifier import Classifier
from tmkd_deploy.quantize.engine_arithmetic import use_engine_arithmetic
from tmkd_deploy.recipe import schema
from tmkd_deploy.records.distillation import StudentName
from tmkd_deploy.records.engine import EngineRecord
from tmkd_deploy.records.engine_names import engine_title
from tmkd_deploy.records.logits import Logits
from tmkd_deploy.records.measurements import Measurements, Representation
from tmkd_deploy.records.onnx_model import ComparedRecord
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.types import Precision
from tmkd_deploy.training.distributed import training_device
from tmkd_deploy.training.predict import predict

_STUDENTS: tuple[StudentName, StudentName] = ("distilled", "baseline")
GIVEN_MODEL = "Given model"
_REPRESENTATIONS: dict[StudentName, Representation] = {
    "distilled": "student_distilled",
    "baseline": "student_baseline",
}
_MAY_BE_TRAINING = (
    "Longer training may explain this as well as quantization-aware training does; "
    "quantize.control trains the student equally long without quantizers to separate the two."
)


@dataclass(frozen=True)
class Models:
    """The models that the ledger compares; the optional ones are None if the recipe omits them.

    `other` is the candidate that lost to `student` on the validation split. `fine_tuned` says
    whether the quantized student was fine-tuned, as the control was.
    """

    teachers: Teachers
    student: Student
    other: Classifier | None
    quantized: Classifier | None
    control: Classifier | None = None
    fine_tuned: bool = True


@dataclass(frozen=True)
class InTorch:
    """The PyTorch models' ledger entries and sizes, and what is wrong with them, in sentences.

    `given` if the student was given, so that it is the only model in floating point.
    """

    entries: list[Entry]
    teacher_parameters: int
    student_parameters: int
    concerns: Sequence[str] = ()
    given: bool = False


def in_torch(
    models: Models,
    data: PreparedData,
    split: Split,
    quant_scheme: QuantScheme,
    asked: schema.Decision,
) -> InTorch:
    """Run the models on a split, the fake-quantized one in `quant_scheme`.

    Raises:
        LogitsError: the logits of a model are not finite.
        RequestError: the recipe asks for a decision that the data do not allow.
    """
    teacher = models.teachers.record
    return InTorch(
        _torch_entries(models, quant_scheme, data, split, Guard.of(asked, data)),
        teacher.visual_parameters,
        models.student.record.parameters,
        [
            *([teacher.weakness] if teacher.weakness else []),
            *models.student.record.concerns,
        ],
        teacher.given,
    )


def measure(
    recipe: schema.Recipe,
    data: PreparedData,
    split: Split,
    torch_side: InTorch,
    record: EngineRecord,
    onnx: Mapping[str, Path],
    bench: Bench | None,
    folder: Path,
    events: Events,
) -> Measurements:
    """Measure every engine of a target on a split, and time them interleaved.

    Args:
        recipe: of the run.
        data: the prepared data.
        split: the test split for a verdict, the validation split for a choice.
        torch_side: the result of `in_torch`.
        record: of the engines.
        onnx: the ONNX file of each precision that its engine was built from.
        bench: runs the engines and the teacher by their names, and alternative
            quantizations by names of their own, so that they cannot ship. None if nothing
            available runs the engines.
        folder: receives `logits-<engine>.npy`, float32 [N, C], of each usable engine, or of its
            ONNX file in the reference evaluation if nothing runs the engine.
        events: receives progress and warnings.

    Raises:
        DataError: no engine has finite logits, or the times cannot be right.
        RequestError: as for `in_torch`.
    """
    labels = np.asarray(data.labels(split))
    guard = Guard.of(recipe.decision, data)
    engines = CheckedEngines(record, data, split, bench, guard, events)
    for precision in dict.fromkeys(engine.precision for engine in record.engines):
        built = [engine for engine in record.engines if engine.precision == precision]
        engines.check(built, onnx[precision])
    if not engines.final:
        raise none_usable(record.target, engines.unusable)
    for name, final in engines.final.items():
        np.save(folder / f"logits-{name}.npy", final.logits.values, allow_pickle=False)
    few = check_guarded_class(recipe.decision, data.record)
    latency = engines.latency(recipe.seed)
    for warning in latency.warnings if latency else ():
        events.warn(warning)
    unfit, of_data = (
        concerns(data.record.check, recipe.data) if split == "test" else (None, list[str]())
    )
    return Measurements(
        target=record.target,
        runtime=record.runtime,
        class_names=data.class_names,
        split=split,
        test_images=len(labels),
        engines=record.engines,
        ledger=ledger([*torch_side.entries, *engines.entries], labels, data.class_names),
        confusion_by_engine={
            name: confusion_matrix(final.predictions, labels, len(data.class_names))
            for name, final in engines.final.items()
        },
        latency=latency,
        not_measured=None if bench else _not_measured_reason(record),
        unusable=engines.unusable,
        concerns=[
            *torch_side.concerns,
            *of_data,
            *([few] if few else []),
        ],
        unfit_split=unfit,
        teacher_parameters=torch_side.teacher_parameters,
        student_parameters=torch_side.student_parameters,
        model_is_given=torch_side.given,
        guarded_class=recipe.decision.guarded_class,
        guarded_recall=recipe.decision.recall if guard else None,
    )


def _torch_entries(
    models: Models, quant_scheme: QuantScheme, data: PreparedData, split: Split, guard: Guard | None
) -> list[Entry]:
    def entry(
        key: str,
        representation: Representation,
        label: str,
        model: Classifier,
        of: str,
        compared_with: str | None = "teacher",
        gain_note: str | None = None,
    ) -> Entry:
        def logits_on(which: Split) -> Logits:
            found = predict(model.to(training_device()), data.images(which), training_device())
            keys = data.keys(which)
            return Logits([found.numpy()], of=of, images=keys, classes=len(data.class_names))

        logits, decision = decided(logits_on, split, guard)
        precision: Precision = "int8" if representation == "fake_quantized" else "fp32"
        return Entry(
            key, representation, precision, label, logits, compared_with, gain_note, decision
        )

    classifier = models.student.classifier
    if models.teachers.given:
        # one row, which every later row and every budget is compared with
        entries = [entry("student", "teacher", GIVEN_MODEL, classifier, "the given model", None)]
    else:
        visual, label = models.teachers.visual, "Teacher, RGB view"
        entries = [entry("teacher", "teacher", label, visual, "the teacher", None)]
        ships_distilled = models.student.record.ships == "distilled"
        shipped, losing = _STUDENTS if ships_distilled else _STUDENTS[::-1]
        if models.other is not None:
            label, of = f"{losing.capitalize()} student", f"the {losing} student"
            entries.append(entry(losing, _REPRESENTATIONS[losing], label, models.other, of))
        label, of = f"{shipped.capitalize()} student", f"the {shipped} student"
        entries.append(entry("student", "student", label, classifier, of))
    origin = "student"
    if models.control is not None:
        origin = "control" if models.fine_tuned else "student"
        label, of = "Control student, without quantizers", "the control student"
        entries.append(entry("control", "student_control", label, models.control, of, "student"))
    if models.quantized is not None:
        use_engine_arithmetic(models.quantized.network, quant_scheme)
        note = _MAY_BE_TRAINING if models.fine_tuned and origin == "student" else None
        label, of = "Fake-quantized student", "the fake-quantized student"
        entries.append(
            entry("fake_quantized", "fake_quantized", label, models.quantized, of, origin, note)
        )
    return entries


def engines_under_test(
    engines: Artifact[EngineRecord],
    teacher: Path | None,
    compared: Artifact[ComparedRecord] | None,
    *,
    given: bool = False,
) -> dict[str, EngineUnderTest]:
    """The engines to measure, in the order of their turns.

    Args:
        engines: the build stage's artifact.
        teacher: the teacher's engine for the same runtime, if there is one.
        compared: alternative quantizations of the student, which run on ONNX Runtime.
        given: whether the student was given, so that there is no other model.
    """
    record = engines.record
    found = {TEACHER: EngineUnderTest("FP32 teacher", record.runtime, teacher)} if teacher else {}
    for engine in record.engines:
        label = f"{engine_title(engine.name)} {'model' if given else 'student'}"
        runtime = engine.runtime or record.runtime
        found[engine.name] = EngineUnderTest(label, runtime, engines.path(engine.file))
    if compared:
        for each in compared.record.files:
            file = compared.path(each.file)
            found[each.name] = EngineUnderTest(each.label, "onnxruntime", file, each.precise_int8)
    return found


def _not_measured_reason(record: EngineRecord) -> str:
    if record.kit:
        return "The engine is built from the kit on the device, and no device was attached."
    return "The engine was built ahead of time, and no GPU that can run it was available."
