"""The `measure` request, served by a real agent over pipes, with ONNX Runtime."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tiny_models import SIDE, model

from tmkd_deploy.measure.latency import latency_from
from tmkd_deploy.recipe.schema import Measure

SETTINGS = Measure(threads=1, warmup_seconds=0.05, min_runs=40, min_seconds=0.05)


@pytest.fixture
def asked(start: Callable[..., Any]) -> Any:
    """An agent that holds the lock, and a request that it can serve."""
    agent = start(python=(sys.executable,))
    agent.line()
    agent.request("lock", owner="the test")
    file = io.BytesIO()
    np.save(file, np.zeros((3, SIDE, SIDE, 3), np.uint8))
    engine = {"runtime": "onnxruntime", "engine": agent.upload(model()), "precise_int8": None}
    request = {
        "engines": [{"name": "fp32", **engine}, {"name": "int8", **engine}],
        "images": agent.upload(file.getvalue()),
        "settings": SETTINGS.model_dump(),
    }
    return agent, request


def test_raw_times_come_home_and_make_figures(asked: Any) -> None:
    agent, request = asked
    timed = agent.request("measure", **request)
    labels = {"fp32": "student, fp32 engine", "int8": "student, int8 engine"}
    latency = latency_from(timed, labels, SETTINGS, 0)
    assert [row.engine for row in latency.rows] == ["fp32", "int8"]
    for row in latency.rows:
        assert row.runs >= 40
        assert row.p50_ms == np.percentile(timed["blocks"][row.engine], 50) > 0
        assert row.throughput is not None and row.throughput.images_per_second > 0
    assert latency.conditions is not None and latency.conditions.samples >= 2
    said = [line["text"] for line in agent.messages if line["type"] == "say"]
    assert len(said) == 2 and "fp32" in said[0] and "int8" in said[1]
    progress = [line for line in agent.messages if line["type"] == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"]


def test_a_measurement_is_never_answered_from_memory(asked: Any) -> None:
    agent, request = asked
    first, second = (agent.request("measure", **request) for _ in range(2))
    assert first["blocks"] != second["blocks"]


def test_an_impossible_measurement_is_reported(asked: Any) -> None:
    agent, request = asked
    twice = [request["engines"][0], request["engines"][0]]
    assert agent.refused("measure", **{**request, "engines": []})["code"] == "request"
    assert agent.refused("measure", **{**request, "engines": twice})["code"] == "request"
    assert agent.refused("measure", **{**request, "settings": {}})["code"] == "request"
    assert agent.refused("measure", **{**request, "images": "0" * 64})["code"] == "data"
