"""File-name patterns: what they match, and that no file name makes them slow."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmkd_deploy.recipe.name_pattern import parse


@pytest.mark.parametrize(
    ("pattern", "path", "group"),
    [
        ("{group}_*.png", "a/00001_00002.png", "00001"),
        ("{group}_*.png", "00001_00002_x.png", "00001"),
        ("{group}_*.png", "00001_00002.jpg", None),
        ("{group}_*.png", "_00002.png", None),
        ("{group}_{group}_*.png", "car_12_0003.png", "car/12"),
        ("*/{group}_*.png", "a/7_1.png", "7"),
        ("*/{group}_*.png", "7_1.png", None),
        ("{group}/{group}_*", "stop/7_1.png", "stop/7"),
        ("IMG-*-{group}.jpg", "IMG-1-2-3.jpg", "2-3"),
        ("{group}.png", "a.png.png", "a.png"),
        ("{group}", "x/whole.png", "whole.png"),
    ],
)
def test_groups_are_read_from_names(pattern: str, path: str, group: str | None) -> None:
    assert parse(pattern).group(path) == group


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("*.png", "has no {group}"),
        ("{group}*.png", "needs text between"),
        ("frame*{group}.png", "needs text between"),
        ("{group}{group}", "needs text between"),
        ("{class}_{group}.png", "has braces"),
        ("{group}_}.png", "has braces"),
        ("", "has no {group}"),
    ],
)
def test_patterns_without_a_meaning_are_refused(pattern: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        parse(pattern)


@given(
    tokens=st.lists(st.sampled_from(["*", "{group}", "a", "b", "ab", "."]), min_size=1, max_size=7),
    name=st.text(alphabet="ab.", max_size=12),
)
def test_what_matches_is_what_a_regular_expression_matches(tokens: list[str], name: str) -> None:
    try:
        pattern = parse("".join(tokens))
    except ValueError:
        return
    parts = {"*": "[^/]*?", "{group}": "([^/]+?)"}
    matched = re.fullmatch("".join(parts.get(token) or re.escape(token) for token in tokens), name)
    assert pattern.group(name) == ("/".join(matched.groups()) if matched else None)


def test_a_pattern_that_defeats_regular_expressions_is_matched_at_once() -> None:
    # a backtracking matcher would try 10^20 ways
    assert parse("*a" * 30 + "-{group}").group("a" * 5000) is None
