"""The `power_comparison` request: the power of a board under load, from two sources at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmkd_deploy.agent.inference import sessions
from tmkd_deploy.agent.inference.predict_request import read_images
from tmkd_deploy.agent.shell import program
from tmkd_deploy.agent.telemetry import power
from tmkd_deploy.agent.transport.request_fields import field

if TYPE_CHECKING:
    from tmkd_deploy.agent.transport.context import Context

_SECONDS_BETWEEN_READINGS = 0.25


def power_comparison(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """Run an engine for `seconds`, and read the monitors and tegrastats four times a second.

    Returns:
        `monitors` and `tegrastats`: the milliwatts of each rail, by reading; one is empty where
        there is no such source. The `runs` of the engine meanwhile.

    Raises:
        AgentError: as `open_session`; `data`: a file is missing or no array of images.
    """
    import numpy as np

    runtime = field(request, "runtime", str)
    images = read_images(context.stored_file(field(request, "images", str)))
    engine = context.stored_file(field(request, "engine", str))
    session = sessions.open_session(runtime, engine, 1, None)
    path = program("tegrastats")
    tegrastats = None if path is None else power.Tegrastats(path, context.children)
    readings: dict[str, list[dict[str, float]]] = {"monitors": [], "tegrastats": []}
    runs = 0
    end = time.monotonic() + field(request, "seconds", int)
    try:
        while time.monotonic() < end:
            due = time.monotonic() + _SECONDS_BETWEEN_READINGS
            while time.monotonic() < due:
                session.infer(np.ascontiguousarray(images[runs % len(images)][None]))
                runs += 1
            readings["monitors"].append(power.rails_mw(Path("/")))
            readings["tegrastats"].append({} if tegrastats is None else tegrastats.rails_mw())
    finally:
        if tegrastats is not None:
            tegrastats.stop()
    return {**{name: _by_rail(each) for name, each in readings.items()}, "runs": runs}


def _by_rail(readings: list[dict[str, float]]) -> dict[str, list[float]]:
    """The values of each rail that every reading has."""
    rails = set.intersection(*map(set, readings)) if readings else set()
    return {rail: [reading[rail] for reading in readings] for rail in sorted(rails)}
