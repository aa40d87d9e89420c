"""Unknown names are answered with the nearest known ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmkd_deploy.suggestions import did_you_mean, nearest


def test_the_best_match_comes_first() -> None:
    assert nearest("epoch", ["seed", "epochs", "data"]) == ["epochs"]
    assert nearest("RTX-ADA", ["rtx-ampere", "rtx-ada"])[0] == "rtx-ada"


@pytest.mark.parametrize(
    ("name", "known", "sentence"),
    [
        ("epoch", ["epochs"], 'Did you mean "epochs"?'),
        ("xyz", ["b", "a"], "Known names: a, b."),
        ("xyz", [f"name{number}" for number in range(99)], "No known name is similar."),
    ],
)
def test_a_sentence_helps_on(name, known, sentence) -> None:
    assert did_you_mean(name, known) == sentence


@settings(deadline=None)
@given(st.text(), st.lists(st.text(), max_size=8))
def test_only_known_names_are_offered(name, known) -> None:
    assert set(nearest(name, known)) <= set(known)
    assert did_you_mean(name, known)
