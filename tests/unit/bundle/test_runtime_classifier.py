"""The application's side: load a bundle, classify images."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from colour_bundle import COLOURS, Pack, colour_model, measurements, solid
from PIL import Image

from tmkd_deploy.errors import DataError
from tmkd_deploy.runtime import RuntimeMissingError, load, verify
from tmkd_deploy.runtime.image import UnreadableImage

DOCUMENT = Path(__file__).parents[3] / "docs" / "how-to" / "application.md"


def png(path: Path, colour: str, side: int = 50) -> Path:
    Image.fromarray(solid(colour, side)).save(path)
    return path


@pytest.mark.parametrize("colour", COLOURS)
def test_a_path_its_bytes_and_its_pixels_give_one_answer(
    bundle: Path, tmp_path: Path, colour: str
) -> None:
    model = load(bundle)
    path = png(tmp_path / "cell.png", colour)
    answers = [
        model.predict(path),
        model.predict(str(path)),
        model.predict(path.read_bytes()),
        model.predict(solid(colour, 50)),
    ]
    for answer in answers:
        assert answer.label == colour == model.class_names[answer.index]
        np.testing.assert_array_equal(answer.logits, answers[0].logits)
        assert answer.confidence == answer.probabilities[colour] > 0.99
        assert sum(answer.probabilities.values()) == pytest.approx(1.0)
        assert list(answer.probabilities) == COLOURS


def test_probabilities_are_the_softmax_of_the_logits(bundle: Path) -> None:
    answer = load(bundle).predict(np.full((9, 7, 3), 100, np.uint8))
    assert answer.logits.dtype == np.float32
    assert answer.probabilities == pytest.approx(dict.fromkeys(COLOURS, 1 / 3))


@pytest.mark.parametrize("batch", ["batch", 1])
def test_a_batch_gives_what_single_images_give(pack_colours: Pack, batch: int | str) -> None:
    path, _ = pack_colours(model=colour_model(batch=batch))
    model = load(path)
    order = ["blue", "red", "red", "green"]
    answers = model.predict_batch([solid(colour, 8 + i) for i, colour in enumerate(order)])
    assert [answer.label for answer in answers] == order
    single = model.predict(solid("blue"))
    np.testing.assert_array_equal(answers[0].logits, single.logits)
    assert model.predict_batch([]) == []


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((8,), np.uint8),
        np.zeros((8, 8, 2), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_an_array_that_is_no_image_is_refused(bundle: Path, pixels: np.ndarray) -> None:
    with pytest.raises(UnreadableImage, match="number 1 cannot be used"):
        load(bundle).predict_batch([solid("red"), pixels])


def test_an_unreadable_image_is_named(bundle: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    with pytest.raises(UnreadableImage, match=r"broken\.png"):
        load(bundle).predict(broken)
    with pytest.raises(UnreadableImage, match=r"absent\.png"):
        load(bundle).predict(tmp_path / "absent.png")


def test_the_lines_in_the_document_work(
    pack_colours: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = pack_colours(name="quickstart")
    monkeypatch.chdir(path.parent)
    png(path.parent / "cell.png", "green")
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    assert len(example.splitlines()) <= 6
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stdout", printed)
    exec(example, {})
    assert printed.getvalue().startswith("green 0.99")


def test_a_bundle_for_a_gpu_is_checked_but_not_run(pack_colours: Pack) -> None:
    for_gpu = measurements(measured=False).model_copy(update={"target": "rtx-ada"})
    path, _ = pack_colours(model=b"opaque engine", runtime="tensorrt_rtx", measurements=for_gpu)
    assert path.name == "colours-rtx-ada.tmkd"
    report = verify(path)
    assert not report.executed
    assert report.engines[0].largest_difference is None
    with pytest.raises(RuntimeMissingError) as caught:
        load(path)
    assert any(caught.value.problem in warning for warning in report.warnings)


def test_without_onnx_runtime_a_bundle_is_checked_but_not_loaded(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    report = verify(bundle)
    assert not report.executed
    with pytest.raises(RuntimeMissingError, match=r"tmkd-deploy\[onnxruntime\]"):
        load(bundle)


def test_an_engine_that_is_not_onnx_is_refused(pack_colours: Pack) -> None:
    with pytest.raises(DataError, match="its engine is not an ONNX model"):
        pack_colours(model=b"not an ONNX model")


def test_an_engine_that_onnx_runtime_cannot_open_is_refused(pack_colours: Pack) -> None:
    with pytest.raises(DataError, match="cannot open its engine"):
        pack_colours(model=colour_model().replace(b"GlobalAveragePool", b"GlobalAverageFool"))


def test_an_engine_of_another_size_is_refused(pack_colours: Pack) -> None:
    four_classes = colour_model(weights=np.zeros((4, 3), np.float32))
    with pytest.raises(DataError, match="input and output do not match its manifest"):
        pack_colours(model=four_classes)


def test_logits_that_are_not_numbers_are_refused(pack_colours: Pack) -> None:
    broken = colour_model(weights=np.full((3, 3), np.nan, np.float32))
    with pytest.raises(DataError, match="not finite"):
        pack_colours(model=broken)


def test_images_of_any_size_are_brought_to_that_of_the_engine(bundle: Path) -> None:
    half = np.concatenate([solid("red", 64), solid("blue", 64)])
    logits = load(bundle, threads=1).predict(half).logits
    # The engine gives each channel's mean over 16; half of the pixels are of each colour.
    np.testing.assert_allclose(logits, [120 / 16, 20 / 16, 120 / 16], atol=0.2)
