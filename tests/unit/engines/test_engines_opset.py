"""A target is only given an opset that it reads."""

import pytest

from tmkd_deploy.engines.variants import refuse_unreadable_opset, variants_for
from tmkd_deploy.errors import RequestError
from tmkd_deploy.targets import catalog as profiles


@pytest.mark.parametrize("asked", [18, 20, 22])
def test_a_target_below_every_recipe_gets_files_of_its_own(asked):
    xavier = profiles.get("jetson-xavier-nx")
    refuse_unreadable_opset(xavier, asked)
    assert {variants_for(xavier, name)[0].opset for name in xavier.precisions} == {17}


@pytest.mark.parametrize("name", profiles.names())
def test_the_default_opset_suits_every_target(name):
    refuse_unreadable_opset(profiles.get(name), 20)


def test_an_opset_the_target_cannot_read_is_refused():
    cpu = profiles.get("cpu")
    with pytest.raises(RequestError, match="opset 21, but the recipe requests 22") as caught:
        refuse_unreadable_opset(cpu, 22)
    assert "'cpu'" in caught.value.problem and caught.value.where == "export.opset"
    assert caught.value.advice == "Set export.opset to 21 or less."


def test_a_target_below_what_is_ever_written_is_refused():
    ancient = profiles.get("jetson-xavier-nx").model_copy(update={"opset_ceiling": 13})
    with pytest.raises(RequestError, match="up to opset 13, but 17 is the oldest"):
        refuse_unreadable_opset(ancient, 20)


def test_a_runtime_without_flags_follows_the_ceiling_too():
    old = profiles.get("cpu").model_copy(update={"opset_ceiling": 17})
    assert [each.name for each in variants_for(old, "int8")] == [
        "student-int8-unsigned-fp32-opset17"
    ]
