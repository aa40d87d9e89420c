"""The metadata of ONNX files, written by onnx and read without it."""

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from tiny_models import model

from tmkd_deploy.agent.agent_errors import AgentError
from tmkd_deploy.agent.build.onnx_metadata import read_metadata

WORDS = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.dictionaries(WORDS, WORDS, max_size=4))
def test_every_tag_is_read(tmp_path_factory, metadata):
    proto = onnx.load_model_from_string(model())
    helper.set_model_props(proto, metadata)
    path = tmp_path_factory.mktemp("metadata") / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    assert read_metadata(path) == metadata


@given(st.binary(max_size=400))
def test_stray_bytes_are_refused_or_harmless(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("stray") / "model.onnx"
    path.write_bytes(content)
    try:
        assert isinstance(read_metadata(path), dict)
    except AgentError as error:
        assert error.code == "data"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_model_is_refused(tmp_path, share):
    whole = model()
    (tmp_path / "model.onnx").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(AgentError, match="not an ONNX model"):
        read_metadata(tmp_path / "model.onnx")
