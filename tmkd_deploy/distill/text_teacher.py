"""The text teacher: an open_clip model with one text embedding per view and class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tmkd_deploy.distill.prompt_texts import fill_template
from tmkd_deploy.distill.views import make_views, one_view_each
from tmkd_deploy.errors import DataError, RequestError
from tmkd_deploy.events import Events, track
from tmkd_deploy.models.checkpoint_file import read_checkpoint
from tmkd_deploy.quiet import quiet
from tmkd_deploy.recipe import schema
from tmkd_deploy.records.types import VIEWS
from tmkd_deploy.runtime.preprocess import PADDING
from tmkd_deploy.suggestions import did_you_mean
from tmkd_deploy.training.batches import to_float
from tmkd_deploy.training.fit import fit
from tmkd_deploy.training.schedule import Schedule
from tmkd_deploy.training.step import Step
from tmkd_deploy.training.trainer_config import TrainerConfig

_CONFIGURATIONS = Path(__file__).parent.parent / "models" / "open_clip"


class TextTeacher(nn.Module):
    """A CLIP model with the tokenized prompts.

    `tokens` is a list of V tensors [templates, C, context], one per view.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, clip: nn.Module, tokens: list[Tensor], mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.clip = clip
        self.tokens = tokens
        self.register_buffer("mean", mean.view(1, 3, 1, 1))
        self.register_buffer("std", std.view(1, 3, 1, 1))
        size = clip.visual.image_size  # type: ignore[union-attr]
        self.image_size: tuple[int, int] = size if isinstance(size, tuple) else (size, size)

    def embed_images(self, images: Tensor) -> Tensor:
        """Images [N, 3, H, W] in [0, 1] to unit vectors [N, d].

        Oblong images are padded to squares with grey, so that their shapes are not distorted.
        """
        height, width = images.shape[-2:]
        if height != width:
            bars = max(height, width) - width, max(height, width) - height
            sides = [side for bar in bars for side in (bar // 2, bar - bar // 2)]
            images = F.pad(images, sides, value=PADDING / 255)
        if images.shape[-2:] != self.image_size:
            images = F.interpolate(
                images, self.image_size, mode="bilinear", antialias=True, align_corners=False
            )
        normalised = (images - self.mean) / self.std
        return F.normalize(self.clip.encode_image(normalised), dim=-1)  # type: ignore[operator]

    def embed_classes(self, random: torch.Generator | None = None) -> Tensor:
        """Mean prompt embeddings of every view and class, as unit vectors [V, C, d].

        With `random`, each view uses one randomly drawn template instead of all, as in training.
        """
        views = []
        for tokens in self.tokens:
            used = tokens
            if random is not None:
                drawn = int(torch.randint(len(tokens), (), generator=random))
                used = tokens[drawn : drawn + 1]
            templates, classes, context = used.shape
            flat = used.view(-1, context).to(self.mean.device)
            embedded = F.normalize(self.clip.encode_text(flat), dim=-1)  # type: ignore[operator]
            views.append(embedded.view(templates, classes, -1).mean(dim=0))
        return F.normalize(torch.stack(views), dim=-1)


def create(
    settings: schema.TextTeacher, prompts: schema.Prompts, class_names: list[str]
) -> TextTeacher:
    """The text teacher with the recipe's weights, or random ones if it names none.

    Raises:
        RequestError: open_clip does not know the model or pretrained tag.
        DataError: the checkpoint does not match, or a prompt is too long for the text encoder.
    """
    clip, tokenizer = _from_open_clip(str(settings.model), settings.pretrained)
    if settings.checkpoint:
        _load(clip, settings.checkpoint, str(settings.model))
    tokens = [
        torch.stack(
            [
                _tokens(tokenizer, template, f"prompts.{view}[{index}]", class_names)
                for index, template in enumerate(getattr(prompts, view))
            ]
        )
        for view in VIEWS
    ]
    mean = torch.tensor(getattr(clip.visual, "image_mean", None) or open_clip.OPENAI_DATASET_MEAN)
    std = torch.tensor(getattr(clip.visual, "image_std", None) or open_clip.OPENAI_DATASET_STD)
    return TextTeacher(clip, tokens, mean, std)


def train(
    teacher: TextTeacher,
    images: np.ndarray,
    labels: np.ndarray,
    views: schema.Views,
    schedule: Schedule,
    device: torch.device,
    events: Events,
    trainer_config: TrainerConfig | None = None,
) -> None:
    """Contrastive training on pairs of a view and its prior-aware prompt.

    Each image appears in one randomly drawn view. Image to text, its positive is the embedding of
    its view and class, and all other views and classes are negatives. Text to image, the positives
    of a text are all images of the batch with its view and class. The token embeddings stay frozen:
    a handful of prompts carries no information about other words.
    """
    for module in getattr(teacher.clip, "text", teacher.clip).modules():
        if isinstance(module, nn.Embedding):
            module.requires_grad_(False)
    targets = torch.from_numpy(labels)

    def loss_of(step: Step) -> Tensor:
        teacher.train()
        batch = to_float(images, step.indices, device)
        drawn = torch.randint(len(VIEWS), (len(batch),), generator=step.random)
        pixels = one_view_each(batch, views, drawn)
        if torch.rand((), generator=step.random) < 0.5:
            pixels = pixels.flip(-1)
        texts = teacher.embed_classes(step.random).flatten(0, 1)
        classes = len(texts) // len(VIEWS)
        positive = (drawn * classes + targets[step.indices]).to(device)
        scores = teacher.embed_images(pixels) @ texts.T * logit_scale(teacher)
        to_text = F.cross_entropy(scores, positive)
        matches = F.one_hot(positive, len(texts)).float().T
        present = matches.sum(dim=1) > 0
        shares = matches[present] / matches[present].sum(dim=1, keepdim=True)
        to_image = F.cross_entropy(scores.T[present], shares)
        return (to_text + to_image) / 2

    fit(
        teacher.parameters(),
        len(images),
        schedule,
        loss_of,
        events,
        "Training the text teacher on views and prompts",
        modules=[teacher],
        trainer_config=trainer_config,
    )


def semantic_scores(
    teacher: TextTeacher,
    images: np.ndarray,
    views: schema.Views,
    device: torch.device,
    events: Events,
) -> Tensor:
    """cos(CLIP(view_v(x)), t_{v,k}) for every image, view and class: [N, V, C] on the CPU."""
    teacher.eval()
    batch_size = 128
    starts = range(0, len(images), batch_size)
    parts = []
    with torch.inference_mode():
        texts = teacher.embed_classes()
        for start in track(events, starts, "Scoring views by text", len(starts), "batches"):
            batch = to_float(images[start : start + batch_size], None, device)
            stacked = make_views(batch, views, list(VIEWS))
            embedded = teacher.embed_images(stacked.flatten(0, 1)).view(*stacked.shape[:2], -1)
            parts.append(torch.einsum("vnd,vcd->nvc", embedded, texts).cpu())
    return torch.cat(parts)


def logit_scale(teacher: TextTeacher) -> Tensor:
    """What cosines are multiplied by to be logits: CLIP's own, a scalar of at most 100."""
    scale: Tensor = teacher.clip.logit_scale.exp().clamp(max=100.0)  # type: ignore[operator]
    return scale


def _from_open_clip(model: str, pretrained: str | None) -> tuple[nn.Module, Any]:
    open_clip.add_model_config(_CONFIGURATIONS)
    tag = open_clip.get_pretrained_cfg(model, pretrained) if pretrained else {}
    if pretrained and not tag and model in open_clip.list_models():
        # open_clip would take it for the path of a checkpoint
        tags = open_clip.list_pretrained_tags_by_model(model)
        raise RequestError(
            f"open_clip has no pretrained tag {pretrained!r} for {model!r}.",
            advice=did_you_mean(pretrained, tags) if tags else "Leave 'pretrained' out.",
        )
    try:
        with quiet():
            clip = open_clip.create_model(
                model,
                pretrained=pretrained,
                # some tags, OpenAI's for example, were trained with another activation than the
                # model's default; open_clip only warns about it
                force_quick_gelu=tag.get("quick_gelu", False),
                pretrained_text=False,  # text weights come from the tag or the checkpoint
            )
            return clip, open_clip.get_tokenizer(model)
    except Exception as error:  # open_clip lets every exception of its hub client through
        raise RequestError(
            f"open_clip could not create {model!r} with the pretrained tag {pretrained!r}: {error}",
            advice="Correct teacher.text, or name a local checkpoint in teacher.text.checkpoint.",
        ) from error


def _load(clip: nn.Module, path: Path, model: str) -> None:
    """Load a checkpoint into `clip`, stripping the "module." prefix of distributed training."""
    state = {name.removeprefix("module."): value for name, value in read_checkpoint(path).items()}
    problem = _mismatch(clip.state_dict(), state)
    if problem:
        raise DataError(
            f"The checkpoint does not match {model!r}: {problem}.",
            where=str(path),
            advice="Set teacher.text.model to the open_clip model that this checkpoint belongs to.",
        )
    clip.load_state_dict(state)


def _mismatch(expected: dict[str, Tensor], state: dict[str, Tensor]) -> str | None:
    for name, tensor in expected.items():
        if name not in state:
            return f"it has no {name!r}"
        if state[name].shape != tensor.shape:
            return (
                f"{name!r} has the shape {list(state[name].shape)}, but {list(tensor.shape)} is "
                "expected"
            )
    unexpected = sorted(set(state) - set(expected))
    return f"the model has no {unexpected[0]!r}" if unexpected else None


def _tokens(tokenizer: Any, template: str, key: str, class_names: list[str]) -> Tensor:
    """Tokens [C, context] of a template; DataError for a sentence that would be truncated."""
    sentences = fill_template(template, class_names)
    context = tokenizer.context_length
    tokens: Tensor = tokenizer(sentences)
    # with a longer context, a sentence that fits yields the same tokens followed by padding only
    longer: Tensor = tokenizer(sentences, 4 * context)
    rest = longer[:, context:]
    complete = (longer[:, :context] == tokens).all(dim=1) & (rest == rest[:, -1:]).all(dim=1)
    for name, fits in zip(class_names, complete.tolist(), strict=True):
        if not fits:
            raise DataError(
                f"For the class {name!r}, the prompt {template!r} is longer than the "
                f"{context} tokens of the text encoder's context.",
                where=key,
                advice="Shorten this template, or give the class a shorter name.",
            )
    return tokens
