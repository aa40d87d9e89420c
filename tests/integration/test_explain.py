"""A whole run of the chain, explained."""

from __future__ import annotations

from project import TARGETS, Done, Project


def test_a_finished_run_is_explained(complete: tuple[Project, Done]) -> None:
    project, done = complete
    assert done.code == 0, done.told
    told = project.run("explain", "small", "--json")
    assert told.code == 0, told.told
    by_target = {each["target"]: each for each in told.json()["explanations"]}
    assert set(by_target) == set(TARGETS)
    mistakes = {"blocked_pair", "per_tensor_weight", "unquantized_residual", "wrong_sign"}
    for each in by_target.values():
        assert not mistakes & {finding["kind"] for finding in each["speed"]}, each["speed"]
        assert each["notes"] and each["next"].startswith("tmkd-deploy ")
    cpu = by_target["cpu"]
    layers = {layer["layer"] for layer in cpu["engine"]["layers"]}
    assert {"conv1.0", "layer1.0.conv1", "layer4.0.conv2", "fc"} <= layers


def test_the_text_ends_with_what_to_run_next_and_has_no_colours(
    complete: tuple[Project, Done],
) -> None:
    project, _ = complete
    told = project.run("explain", "runs/small", "--target", "cpu", "--precision", "fp32")
    assert told.code == 0, told.told
    assert "Why is it slow?" in told.out and "Why did it lose accuracy?" in told.out
    assert told.out.rstrip().splitlines()[-1].startswith("Next: tmkd-deploy ")
    assert "\x1b" not in told.out
