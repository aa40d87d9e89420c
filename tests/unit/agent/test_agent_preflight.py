"""An engine of another GPU or release is refused, with both sides named."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmkd_deploy.agent.agent_errors import AgentError
from tmkd_deploy.agent.build import preflight
from tmkd_deploy.agent.build.preflight import CurrentDevice

RELEASES = st.tuples(st.integers(8, 11), st.integers(0, 16), st.integers(0, 3))
CAPABILITIES = st.sampled_from([72, 75, 86, 87, 89, 110, 120])


def sidecar(release, sm, runtime="tensorrt"):
    return {
        "runtime": runtime,
        "versions": {"runtime": release},
        "device": {"sm": sm},
        "engine": {"sha256": "a" * 64},
    }


def dotted(release):
    return ".".join(str(number) for number in release)


@given(RELEASES, RELEASES, CAPABILITIES, CAPABILITIES)
def test_refused_exactly_where_release_or_gpu_differ(built, here, built_sm, here_sm):
    engine = sidecar(dotted((*built, 30)), f"SM{built_sm}")  # four numbers, of which three count
    place = CurrentDevice(dotted(here), str(here_sm))
    if built == here and built_sm == here_sm:
        preflight.require_compatible(engine, place)
        return
    with pytest.raises(AgentError) as caught:
        preflight.require_compatible(engine, place)
    assert caught.value.code == "environment" and "Build it again" in caught.value.advice
    if built != here:
        assert dotted(built) in caught.value.problem and dotted(here) in caught.value.problem
    if built_sm != here_sm:
        assert f"SM{built_sm}" in caught.value.problem and f"SM{here_sm}" in caught.value.problem


@given(RELEASES, CAPABILITIES)
def test_what_is_unknown_is_left_to_the_runtime(release, sm):
    preflight.require_compatible(sidecar(None, None), CurrentDevice(dotted(release), f"SM{sm}"))
    preflight.require_compatible(sidecar(dotted(release), f"SM{sm}"), CurrentDevice(None, None))


def test_onnx_runtimes_engines_go_anywhere():
    preflight.require_compatible(
        sidecar("1.32.0", None, "onnxruntime"), CurrentDevice("1.17.0", None)
    )


@pytest.mark.parametrize("text", ["SM87", "87", "8.7", "sm_87"])
def test_a_compute_capability_however_it_is_written(text):
    assert preflight.sm_of(text) == 87


def test_the_manifest_beside_an_engine(tmp_path):
    engine = tmp_path / ("a" * 64)
    assert preflight.read_sidecar(engine) is None
    written = sidecar("10.3.0", "SM87")
    preflight.sidecar_of(engine).write_text(json.dumps(written))
    assert preflight.read_sidecar(engine) == written
    for damaged in ("{", "[]", "{}", json.dumps({"engine": {"sha256": "b" * 64}})):
        preflight.sidecar_of(engine).write_text(damaged)
        with pytest.raises(AgentError) as caught:
            preflight.read_sidecar(engine)
        assert caught.value.code == "data"
