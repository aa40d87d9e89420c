"""How long a run says that it will take."""

from __future__ import annotations

import pytest

from tmkd_deploy.pipeline.planned_stage import PlannedStage, remaining


def stages(*seconds: float | None) -> list[PlannedStage]:
    return [PlannedStage(str(at), None, True, each) for at, each in enumerate(seconds)]


@pytest.mark.parametrize(
    ("seconds", "at", "told"),
    [
        ((10.0, 100.0, 20.0), "0", " (about 10.0 s; 2 min 10 s left)"),
        ((10.0, 100.0, 20.0), "2", " (about 20.0 s; 20.0 s left)"),
        ((10.0, 100.0, None), "1", " (about 1 min 40 s; at least 1 min 40 s left)"),
        ((10.0, None, 100.0), "1", ""),  # nothing is known of it
        ((10.0, 5.0), "0", ""),  # over before anyone asks
        ((100.0,), "of another run", ""),
    ],
)
def test_the_rest_of_a_run_is_summed(seconds, at, told):
    assert remaining(stages(*seconds), at, None) == told
