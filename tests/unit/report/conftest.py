"""Pages without their charts, for tests of what is written."""

from __future__ import annotations

import pytest

from tmkd_deploy.report import charts


@pytest.fixture
def drawn() -> None:
    """For tests that look at charts."""


@pytest.fixture(autouse=True)
def _undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty picture for each chart: drawing them takes most of a page's second."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(charts, "_svg", lambda _, name: f'<svg id="{name}"></svg>')
