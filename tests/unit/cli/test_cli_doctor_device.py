"""`doctor --device` asks the device itself, and looks at the targets that it can be."""

import json
import platform

import pytest
from boards import board

from tmkd_deploy.cli import device_checkup
from tmkd_deploy.cli.main import main
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.targets.finding import Finding


def recipe(*targets: str) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "a",
            "data": {"source": "folder", "path": "images"},
            "targets": [{"target": target} for target in targets],
        }
    )


def by_subject(findings: list[Finding]) -> dict[str, Finding]:
    assert len({finding.subject for finding in findings}) == len(findings)
    return {finding.subject: finding for finding in findings}


def test_this_machine_answers_as_a_device(capsys) -> None:
    code = main(["doctor", "--device", "local", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert content["exit_code"] == code
    assert content["device"] == "local"
    assert content["device_info"]["machine"] == platform.machine()
    [device] = [check for check in content["checks"] if check["subject"] == "Device"]
    assert platform.machine() in device["found"]
    assert code == (4 if any(each["state"] == "error" for each in content["checks"]) else 0)


def test_what_is_wrong_there_makes_the_exit_code_4(monkeypatch, capsys) -> None:
    monkeypatch.setattr(device_checkup, "probe", lambda address: board("xavier", numpy=None))
    assert main(["doctor", "--device", "ssh://xavier"]) == 4
    told = capsys.readouterr().out
    assert "Python: sudo apt-get install python3-numpy" in told
    assert "CUDA: sudo apt-get install cuda-toolkit-11-4" in told


@pytest.mark.parametrize(("address", "code"), [("lokal", 2), ("ssh://nobody@127.0.0.1:1", 4)])
def test_a_device_that_does_not_answer_is_an_error(address, code, capsys) -> None:
    assert main(["doctor", "--device", address]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_the_recipes_other_targets_are_for_other_devices() -> None:
    asked = recipe("cpu", "jetson-orin-nx", "rtx-ada")
    found = by_subject(device_checkup.examine(board("orin-nx", onnxruntime="1.23.0"), asked))
    assert found["TensorRT"].state == found["ONNX Runtime"].state == "ok"
    assert found["Target rtx-ada"].state == "missing"


def test_a_device_that_is_no_target_of_the_recipe_is_wrong() -> None:
    found = by_subject(device_checkup.examine(board("raspberry"), recipe("jetson-orin-nx")))
    assert found["Target jetson-orin-nx"].state == "error"
    assert found["Target jetson-orin-nx"].remedy
    assert found["Python"].state == "ok"
