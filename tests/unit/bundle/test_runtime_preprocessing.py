"""An application sees the bytes that training saw, however images are resized."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from colour_bundle import (
    as_older,
    contents_of,
    measurements,
    npy,
    verdict,
    with_manifest,
    with_member,
)
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tmkd_deploy.bundle.pack import pack
from tmkd_deploy.data.block import Block, decode_block
from tmkd_deploy.runtime import BundleError, Classifier, load, verify
from tmkd_deploy.runtime.preprocess import Preprocessing, ResizeMode

HEIGHT, WIDTH = 16, 24
PIXELS = HEIGHT * WIDTH * 3
MODES = get_args(ResizeMode)
ALL = [Preprocessing(HEIGHT, WIDTH, *how) for how in itertools.product(MODES, (False, True))]
FORMATS = {
    "PNG": ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"],
    "JPEG": ["RGB", "L", "CMYK"],
    "WEBP": ["RGB", "RGBA"],
    "TIFF": ["RGB", "RGBA", "L", "CMYK"],
}


class Stored:
    """An encoded image in memory, as a shard holds it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self) -> bytes:
        return self._content


def copying_model() -> bytes:
    """An engine whose logits are its input's pixels, one by one."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "shape"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "copy",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", HEIGHT, WIDTH, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", PIXELS])],
        [numpy_helper.from_array(np.array([-1, PIXELS]), "shape")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Preprocessing], Path]:
    """Makes bundles of the copying engine."""

    def make(preprocessing: Preprocessing) -> Path:
        folder = tmp_path_factory.mktemp("bundle")
        engine = folder / "fp32.onnx"
        engine.write_bytes(copying_model())
        golden = np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, 3), dtype=np.uint8)
        record = pack(
            name="copy",
            engine=engine,
            precision="fp32",
            runtime="onnxruntime",
            measurements=measurements(),
            verdict=verdict(),
            class_names=[f"pixel {number}" for number in range(PIXELS)],
            preprocessing=preprocessing,
            golden_images=golden,
            golden_logits=golden.reshape(2, -1).astype(np.float32),
            golden_tolerance=1e-3,
            into=folder,
        )
        return folder / str(record.file)

    return make


@pytest.fixture(scope="module")
def classifiers(
    bundle_of: Callable[[Preprocessing], Path],
) -> list[tuple[Preprocessing, Classifier]]:
    return [(each, load(bundle_of(each))) for each in ALL]


@st.composite
def photographs(draw: st.DrawFn) -> bytes:
    """Encoded images of any size, mode and EXIF orientation."""
    kind = draw(st.sampled_from(sorted(FORMATS)))
    mode = draw(st.sampled_from(FORMATS[kind]))
    width, height = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    if mode == "I;16":
        image = Image.fromarray(random.integers(0, 1 << 16, (height, width), dtype=np.uint16))
    else:
        colours = random.integers(0, 256, (height, width, 4), dtype=np.uint8)
        image = Image.fromarray(colours).convert("RGB" if mode in ("CMYK", "P") else mode)
        image = image.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = draw(st.integers(1, 8))
    file = io.BytesIO()
    image.save(file, kind, exif=exif)
    return file.getvalue()


@given(encoded=photographs())
def test_training_and_application_see_the_same_bytes(
    classifiers: list[tuple[Preprocessing, Classifier]], encoded: bytes
) -> None:
    for preprocessing, classifier in classifiers:
        row = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
        decode_block(Block(0, ["photograph"], [Stored(encoded)], preprocessing), row)
        seen = classifier.predict(encoded).logits
        np.testing.assert_array_equal(seen, row.ravel().astype(np.float32))


def test_the_manifest_says_how_images_are_resized(
    bundle_of: Callable[[Preprocessing], Path],
) -> None:
    boxed = Preprocessing(HEIGHT, WIDTH, "letterbox", True)
    report = verify(bundle_of(boxed))
    assert report.manifest.preprocessing == boxed
    assert any(sentence.startswith("Images are resized here as") for sentence in report.checked)


@pytest.mark.parametrize("change", [{"resize": "crop"}, {"resize": "squash"}, {"grayscale": True}])
def test_another_way_to_resize_is_found_out(
    bundle_of: Callable[[Preprocessing], Path], change: dict[str, Any]
) -> None:
    bundle = bundle_of(Preprocessing(HEIGHT, WIDTH, "letterbox"))
    with_manifest(bundle, lambda document: document["input"].update(change))
    for opened in (verify, load):
        with pytest.raises(BundleError, match="resized differently on this machine"):
            opened(bundle)
    assert load(bundle, verify=False).manifest.height == HEIGHT


def test_pictures_that_round_differently_pass(bundle_of: Callable[[Preprocessing], Path]) -> None:
    bundle = bundle_of(ALL[0])
    name = "golden_preprocessed.npy"
    pictures = np.load(io.BytesIO(contents_of(bundle)[name]))
    with_member(bundle, name, npy(pictures ^ 1))
    assert "at most 1." in " ".join(verify(bundle).checked)


@pytest.mark.parametrize("content", [b"", b"no array", npy(np.zeros((2, 8, 8, 3), np.uint8))])
def test_pictures_that_are_not_what_they_should_be(
    bundle_of: Callable[[Preprocessing], Path], content: bytes
) -> None:
    bundle = with_member(bundle_of(ALL[0]), "golden_preprocessed.npy", content)
    with pytest.raises(BundleError, match="its preprocessed pictures"):
        verify(bundle)


def test_an_older_bundle_squashes(bundle_of: Callable[[Preprocessing], Path]) -> None:
    bundle = as_older(bundle_of(ALL[0]), 1)
    assert verify(bundle).executed
    assert load(bundle).manifest.preprocessing == ALL[0]
