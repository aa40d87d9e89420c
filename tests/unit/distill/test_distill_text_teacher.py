"""The text teacher: open_clip models, checkpoints and prompts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from tmkd_deploy.distill.prompt_texts import fill_template, readable
from tmkd_deploy.errors import DataError, RequestError
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.recipe.schema import Prompts, TextTeacher, Views
from tmkd_deploy.records.types import VIEWS
from tmkd_deploy.training.schedule import Schedule

open_clip = pytest.importorskip("open_clip")
from tmkd_deploy.distill import text_teacher  # noqa: E402 - it imports open_clip

NAMES = ["plain", "across", "down"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clip():
    """The tiny CLIP with random weights."""
    torch.manual_seed(3)
    return text_teacher.create(TextTeacher(), Prompts(), NAMES).eval()


def test_one_sentence_per_class():
    assert fill_template("a {class}, {class}", ["a_b", "c-d"]) == ["a a b, a b", "a c d, c d"]


@given(st.text(max_size=20))
def test_readable_names_have_single_spaces(name):
    assert readable(name) == " ".join(readable(name).split())
    assert "_" not in readable(name) and "-" not in readable(name)


def test_classes_are_the_normalised_mean_of_their_prompts(clip):
    with torch.inference_mode():
        found = clip.embed_classes()
        tokenizer = open_clip.get_tokenizer("tmkd-clip-tiny")
        for view, name in zip(found, VIEWS, strict=True):
            for row, label in zip(view, NAMES, strict=True):
                templates = getattr(Prompts(), name)
                sentences = [template.replace("{class}", label) for template in templates]
                one = clip.clip.encode_text(tokenizer(sentences))
                mean = (one / one.norm(dim=1, keepdim=True)).mean(dim=0)
                assert torch.allclose(row, mean / mean.norm(), atol=1e-5)


@pytest.mark.parametrize("turned", [False, True])
def test_oblong_images_are_padded_not_distorted(clip, turned):
    images = torch.rand(2, 3, 40, 60, generator=torch.Generator().manual_seed(0))
    square = torch.full((2, 3, 60, 60), 128 / 255)
    square[:, :, 10:50] = images
    if turned:
        images, square = images.mT, square.mT
    with torch.inference_mode():
        assert torch.equal(clip.embed_images(images), clip.embed_images(square))


@pytest.mark.parametrize("form", ["safetensors", "torch", "open_clip training"])
def test_a_checkpoint_is_used_unchanged(clip, tmp_path, form):
    state = {name: each.contiguous() for name, each in clip.clip.state_dict().items()}
    path = tmp_path / ("clip.safetensors" if form == "safetensors" else "clip.pt")
    if form == "safetensors":
        save_file(state, path)
    elif form == "torch":
        torch.save(state, path)
    else:
        parallel = {f"module.{name}": each for name, each in state.items()}
        torch.save({"epoch": 3, "name": "run", "state_dict": parallel}, path)
    torch.manual_seed(4)
    again = text_teacher.create(TextTeacher(checkpoint=path, epochs=0), Prompts(), NAMES).eval()
    with torch.inference_mode():
        assert torch.equal(again.embed_classes(), clip.embed_classes())
        images = torch.rand(2, 3, 40, 40)
        assert torch.equal(again.embed_images(images), clip.embed_images(images))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("ln_final.bias"), "it has no 'ln_final.bias'"),
        (
            lambda state: state.update({"ln_final.bias": torch.zeros(5)}),
            "'ln_final.bias' has the shape [5], but [128] is expected",
        ),
        (
            lambda state: state.update({"head.bias": torch.zeros(5)}),
            "the model has no 'head.bias'",
        ),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(clip, tmp_path, change, message):
    state = dict(clip.clip.state_dict())
    change(state)
    path = tmp_path / "other.safetensors"
    save_file(state, path)
    with pytest.raises(DataError) as caught:
        text_teacher.create(TextTeacher(checkpoint=path, epochs=0), Prompts(), NAMES)
    assert message in caught.value.problem and "tmkd-clip-tiny" in caught.value.problem
    assert caught.value.where == str(path)


def test_an_unknown_model_or_tag_is_refused():
    with pytest.raises(RequestError, match="open_clip could not create"):
        text_teacher.create(TextTeacher(model="ViT-B-33"), Prompts(), NAMES)
    with pytest.raises(RequestError, match="no pretrained tag 'openai' for 'tmkd-clip-tiny'"):
        text_teacher.create(TextTeacher(pretrained="openai"), Prompts(), NAMES)


def test_a_file_with_the_name_of_a_tag_is_not_loaded(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(clip.clip.state_dict(), "mine")
    with pytest.raises(RequestError, match="no pretrained tag 'mine'"):
        text_teacher.create(TextTeacher(pretrained="mine"), Prompts(), NAMES)


@pytest.mark.parametrize("words", [10, 100, 400])
def test_a_truncated_prompt_names_class_template_and_key(words):
    long = " ".join(["very"] * words)
    prompts = Prompts(edge=["the outline of a {class}", f"a {long} {{class}}"])
    if words == 10:
        assert len(text_teacher.create(TextTeacher(), prompts, NAMES).tokens[1]) == 2
        return
    with pytest.raises(DataError) as caught:
        text_teacher.create(TextTeacher(), prompts, NAMES)
    assert caught.value.where == "prompts.edge[1]"
    assert "'plain'" in caught.value.problem and "77 tokens" in caught.value.problem
    assert "very very" in caught.value.problem


def test_the_longest_prompt_that_fits_is_accepted_and_one_word_more_is_not():
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    # the start and end of the sentence take one token each
    for words, fits in ((74, True), (75, False)):
        name = " ".join(["scratch"] * words)
        assert len(tokenizer.encode(f"a {name}")) + 2 == 77 + (not fits)
        prompts = Prompts(rgb=["a {class}"], edge=["a {class}"], freq=["a {class}"])
        if fits:
            text_teacher.create(TextTeacher(), prompts, ["good", name])
        else:
            with pytest.raises(DataError, match="For the class 'scratch scratch"):
                text_teacher.create(TextTeacher(), prompts, ["good", name])


def test_training_learns_the_classes_with_frozen_token_embeddings(clip):
    random = np.random.default_rng(0)
    labels = np.arange(48) % 3
    images = random.integers(0, 40, (48, 32, 32, 3), dtype=np.uint8)
    images[labels == 1, ::4] = 220
    images[labels == 2, :, ::4] = 220
    torch.manual_seed(0)
    teacher = text_teacher.create(TextTeacher(), Prompts(), NAMES)
    words = teacher.clip.token_embedding.weight.clone()
    schedule = Schedule(10, 16, 2e-3, 0.05, 0)
    text_teacher.train(teacher, images, labels, Views(), schedule, CPU, SilentEvents())
    assert torch.equal(teacher.clip.token_embedding.weight, words)
    scores = text_teacher.semantic_scores(teacher, images, Views(), CPU, SilentEvents())
    assert scores.shape == (48, 3, 3)
    assert scores.abs().max() <= 1 + 1e-5
    assert (scores[:, 0].argmax(dim=1).numpy() == labels).mean() > 0.8
