"""Names of classes that a person or a text encoder could not tell apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmkd_deploy.records.class_names import class_name_problem, words


@pytest.mark.parametrize("names", [["a", "b"], ["A", "a"], ["ab", "a b"], ["C", "C++"], ["é", "e"]])
def test_names_of_different_words_pass(names: list[str]) -> None:
    assert class_name_problem(names) is None


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["crane", "dog", "crane"], "Two classes have the same name, 'crane'."),
        (
            ["hot_spot", "fine", "hot spot"],
            "'hot_spot' and 'hot spot' are the same to a text encoder",
        ),
        (["hot-spot", " hot  spot"], "'hot-spot' and ' hot  spot' are the same to a text encoder"),
        (["fine", ""], "The name of class 1 is '', which contains no word."),
        (["fine", "worn", " _"], "The name of class 2 is ' _', which contains no word."),
    ],
)
def test_the_first_problem_is_reported(names: list[str], told: str) -> None:
    assert told in (class_name_problem(names) or "")


@given(st.text())
def test_words_are_those_that_prompts_say(name: str) -> None:
    prompts = pytest.importorskip("tmkd_deploy.distill.prompt_texts")
    assert list(words(name)) == prompts.readable(name).split()


@given(st.lists(st.text(alphabet="ab _-", max_size=4), max_size=6))
def test_without_a_problem_all_words_differ(names: list[str]) -> None:
    said = [words(name) for name in names]
    assert (class_name_problem(names) is None) == (all(said) and len(set(said)) == len(said))
