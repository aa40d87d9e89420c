"""A class that must not be missed, from a line of the recipe to the answers of the bundle."""

from __future__ import annotations

import json

import numpy as np
import pytest
from project import Project

from tmkd_deploy import artifacts
from tmkd_deploy.cli.main import main
from tmkd_deploy.data.prepared import DataRecord, PreparedData
from tmkd_deploy.runtime import load
from tmkd_deploy.runtime.decision import probabilities

RECALL = 0.6  # which the few validation images of this project can show


@pytest.fixture
def guarding(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The complete run, in whose recipe a class has just become one that must not be missed."""
    project.replace("targets:", f"decision: {{guarded_class: down, recall: {RECALL}}}\ntargets:")
    monkeypatch.chdir(project.folder)
    return project


def test_from_the_recipe_to_the_answers_of_the_bundle(guarding, images, capsys) -> None:
    code = main(["run", "--target", "cpu", "--json"])
    told = capsys.readouterr()
    assert code == 0, told.err
    stages = {each["stage"]: each for each in json.loads(told.out)["stages"]}
    assert {name for name, each in stages.items() if not each["reused"]} == {
        *("measure", "gate", "bundle", "report")
    }
    gate = stages["gate"]["record"]
    threshold = gate["threshold"]
    assert gate["guarded_class"] == "down" and 0 < threshold < 1
    assert not gate["verdict"]["warnings"]

    (bundle,) = (guarding.run_folder / "bundle" / "cpu").glob("*.tmkd")
    model = load(bundle)
    assert (model.engine.guarded_class, model.engine.threshold) == ("down", threshold)

    # the verdict counts what the bundle answers
    answers = {
        kind: [model.predict(path).label for path in sorted((images / "test" / kind).iterdir())]
        for kind in model.class_names
    }
    counted = [[answers[kind].count(name) for name in model.class_names] for kind in answers]
    shipped = gate["would_ship"]
    assert gate["measurements"]["confusion_by_engine"][shipped] == counted

    # the shipped engine reaches on validation images what was asked for
    data = PreparedData.load(artifacts.read(guarding.run_folder / "prepare", "prepare", DataRecord))
    down = data.images("val")[data.labels("val") == data.class_names.index("down")]
    found = model.predict_batch([np.asarray(image) for image in down])
    scores = probabilities(np.stack([each.logits for each in found]))
    assert np.mean([each.label == "down" for each in found]) >= RECALL
    assert (scores[:, model.class_names.index("down")] >= threshold).mean() >= RECALL

    for name in ("report.md", "summary.json", "report.html"):
        text = (guarding.run_folder / name).read_text(encoding="utf-8")
        assert f"chosen on validation images for a recall of {RECALL:g}" in text
    assert main(["bundle", "evaluate", str(bundle), str(images / "test"), "--json"]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert evaluated["confusion"] == counted and evaluated["threshold"] == threshold
    assert main(["bundle", "verify", str(bundle)]) == 0
    assert "is valid" in capsys.readouterr().out


def test_a_class_that_the_data_do_not_have_is_refused(guarding, capsys) -> None:
    given = ("--set", "decision.guarded_class=dwn")
    for command in (["run", "--target", "cpu"], ["recipe", "check"]):
        assert main([*command, *given]) == 2
        said = capsys.readouterr().err
        assert "decision.guarded_class" in said and 'Did you mean "down"?' in said


def test_too_few_validation_images_are_told_at_once_and_in_the_verdict(guarding, capsys) -> None:
    main(["gate", "--target", "cpu", "--set", "decision.recall=0.99", "--json"])
    told = capsys.readouterr()
    few = 'validation images of "down" are too few to show a recall of 0.99; 299 could.'
    assert "Warning: " in told.err and few in told.err
    gate = next(each for each in json.loads(told.out)["stages"] if each["stage"] == "gate")
    assert any(few in each for each in gate["record"]["verdict"]["warnings"])
