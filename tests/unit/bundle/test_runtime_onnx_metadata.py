"""The metadata of ONNX files, written by onnx and read without it."""

import contextlib

import onnx
import pytest
from colour_bundle import colour_model as model
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from tmkd_deploy.runtime.onnx_metadata import metadata_of

WORDS = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.dictionaries(WORDS, WORDS, max_size=4))
def test_every_tag_is_read(metadata):
    proto = onnx.load_model_from_string(model())
    helper.set_model_props(proto, metadata)
    assert metadata_of(memoryview(proto.SerializeToString())) == metadata


@given(st.binary(max_size=400))
def test_stray_bytes_are_refused_or_harmless(content):
    with contextlib.suppress(ValueError):
        assert isinstance(metadata_of(memoryview(content)), dict)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_model_is_refused(share):
    whole = model()
    with pytest.raises(ValueError):
        metadata_of(memoryview(whole[: int(len(whole) * share)]))
