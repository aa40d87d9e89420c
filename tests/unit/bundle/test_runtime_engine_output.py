"""What an engine returns is checked at every call, verified or not."""

from __future__ import annotations

from pathlib import Path

import hostile_engines
import numpy as np
import pytest
from colour_bundle import colour_model, solid, with_member
from onnx import helper

from tmkd_deploy.runtime import BundleError, load


def test_an_engine_that_drops_images_is_found(bundle: Path) -> None:
    first_only = hostile_engines.ending_with(
        [helper.make_node("Slice", ["scores", "from", "to"], ["logits"])],
        **{"from": np.array([0]), "to": np.array([1])},
    )
    with_member(bundle, "engine-0.onnx", first_only)
    classifier = load(bundle, verify=False)
    assert classifier.predict(solid("red")).label == "red"
    told = r"float32 in an array of shape \[1, 3\] for 2 images and 3 classes"
    with pytest.raises(BundleError, match=told):
        classifier.predict_batch([solid("red"), solid("blue")])
    with pytest.raises(BundleError, match=r"an array of shape \[1, 3\] for 3 images"):
        load(bundle)


def test_a_fixed_batch_of_several_is_refused(bundle: Path) -> None:
    with_member(bundle, "engine-0.onnx", colour_model(batch=4))
    with pytest.raises(BundleError, match="do not match its manifest"):
        load(bundle, verify=False)


def test_a_logit_that_is_no_number_never_becomes_a_label(bundle: Path) -> None:
    roots = hostile_engines.ending_with(
        [
            helper.make_node("Sub", ["scores", "one"], ["d"]),
            helper.make_node("Sqrt", ["d"], ["logits"]),
        ],
        one=np.array(1, np.float32),
    )
    with_member(bundle, "engine-0.onnx", roots)
    classifier = load(bundle, verify=False)
    assert classifier.predict(solid("red")).label == "red"
    with pytest.raises(BundleError, match="not finite"):
        classifier.predict(np.zeros((4, 4, 3), np.uint8))
