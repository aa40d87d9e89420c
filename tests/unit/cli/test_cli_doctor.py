"""`doctor` finds what is wrong, says how to mend it, and asks only for what is needed."""

import dataclasses
import email
import json
import platform
import sys
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tmkd_deploy.cli import checkup, extras
from tmkd_deploy.cli.main import main
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.targets.finding import Finding


def recipe(target: str, **keys: object) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "a",
            "data": {"source": "folder", "path": "images"},
            "targets": [{"target": target, **keys}],
        }
    )


def required(specifier: str, installed: str | None, *, name: str = "a") -> extras.Requirement:
    return extras.Requirement(name, SpecifierSet(specifier), installed)


def by_subject(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


def test_this_machine_is_examined(tmp_path) -> None:
    findings = by_subject(checkup.examine(None, tmp_path / "not" / "yet"))
    assert findings["Python"].found == platform.python_version()
    assert findings["Base packages"].state == "ok"
    assert str(tmp_path) in findings["Disk"].found
    assert "cores" in findings["Processor"].found


def test_a_recipe_limits_what_is_looked_at(tmp_path) -> None:
    engines_under_test = by_subject(checkup.examine(recipe("jetson"), tmp_path))
    assert "Extra demo" not in engines_under_test
    assert "Extra tensorrt-rtx" not in engines_under_test
    assert "Extra train" in engines_under_test
    assert "device" in engines_under_test["Target jetson-orin-nano"].found


@pytest.mark.parametrize(
    ("requirement", "satisfied"),
    [
        (required(">=1.10", "1.9.3"), False),
        (required(">=1.9", "1.10"), True),
        (required(">=2", "2.0.0rc1"), True),
        (required(">=1.0.0.post1", "1.0.0.post1"), True),
        (required(">=1.0.0.post2", "1.0.0.post1+cpu"), False),
        (required("", "0.1"), True),
        (required("", None), False),
        (required(">=2.9", "2.15.0+cpu"), True),
        (required(">=2.9,!=2.10,<3", "2.10.0"), False),
        (required(">=2.9", "not a version"), False),
    ],
)
def test_versions_are_compared_as_numbers(requirement, satisfied) -> None:
    assert requirement.satisfied is satisfied


def test_what_is_needed_and_missing_comes_with_its_command(tmp_path, monkeypatch) -> None:
    lacking = {"train": [required(">=2.9", "2.1", name="torch")]}
    monkeypatch.setattr(extras, "requirements", lambda: lacking)
    needed = by_subject(checkup.examine(recipe("cpu"), tmp_path))["Extra train"]
    assert (needed.state, needed.found) == ("error", "torch 2.1 is not >=2.9")
    assert needed.remedy == "pip install 'tmkd-deploy[train]'"
    unasked = by_subject(checkup.examine(None, tmp_path))["Extra train"]
    assert unasked.state == "missing"


def test_requirements_are_read_with_their_markers(monkeypatch) -> None:
    metadata = email.message_from_string(
        "Provides-Extra: train\n"
        "Provides-Extra: demo\n"
        "Requires-Dist: pydantic>=2.7\n"
        'Requires-Dist: torch<3,>=2.9; extra == "train"\n'
        "Requires-Dist: pillow[tests]>=10; extra == 'demo' or extra == 'train'\n"
        'Requires-Dist: tomli; python_version < "3" and extra == "train"\n'
        'Requires-Dist: winreg; sys_platform == "win32"\n'
    )
    monkeypatch.setattr(extras.importlib.metadata, "metadata", lambda _: metadata)
    found = {
        extra: [(each.distribution, str(each.specifier)) for each in packages]
        for extra, packages in extras.requirements().items()
    }
    assert found == {
        "": [("pydantic", ">=2.7")],
        "train": [("torch", "<3,>=2.9"), ("pillow", ">=10")],
        "demo": [("pillow", ">=10")],
    }


def test_a_comparison_with_modelopt_needs_its_extra() -> None:
    plain = recipe("cpu")
    compares = plain.quantize.model_copy(update={"compare": ["modelopt"]})
    assert "modelopt" not in checkup._needed_extras(plain)
    assert "modelopt" in checkup._needed_extras(plain.model_copy(update={"quantize": compares}))


def test_runtimes_that_race_need_their_extras() -> None:
    both = recipe("cpu", runtimes=["onnxruntime", "openvino"])
    assert "openvino" not in checkup._needed_extras(recipe("cpu"))
    assert checkup._needed_extras(both) >= {"onnxruntime", "openvino"}


def test_something_wrong_makes_the_exit_code_4(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(checkup, "DISK_GB_NEEDED", 1e9)
    assert main(["doctor", "--json", "--runs", str(tmp_path)]) == 4
    content = json.loads(capsys.readouterr().out)
    assert content["exit_code"] == 4
    [disk] = [check for check in content["checks"] if check["subject"] == "Disk"]
    assert disk["state"] == "error" and disk["remedy"]
    assert set(disk) == {field.name for field in dataclasses.fields(Finding)}


def test_the_base_alone_is_enough_without_a_recipe(capsys) -> None:
    assert main(["doctor"]) == 0
    assert "All required checks passed." in capsys.readouterr().out


def test_every_extra_that_errors_name_exists() -> None:
    declared = extras.requirements()
    for distribution, extra in extras.PROVIDERS.values():
        assert distribution in [each.distribution for each in declared[extra]]


def test_an_extra_that_is_required_is_imported_too(tmp_path, monkeypatch) -> None:
    findings = by_subject(checkup.examine(None, tmp_path, ["onnxruntime"]))
    assert findings["Imports of onnxruntime"].state == "ok"
    monkeypatch.setitem(
        sys.modules, "onnxruntime", None
    )  # how Python marks what cannot be imported
    broken = by_subject(checkup.examine(None, tmp_path, ["onnxruntime"]))
    assert broken["Extra onnxruntime"].state == "ok"
    assert broken["Imports of onnxruntime"].state == "error"
    assert "tmkd-deploy[onnxruntime]" in broken["Imports of onnxruntime"].remedy


def test_an_extra_that_is_required_and_missing_makes_the_exit_code_4(monkeypatch, capsys) -> None:
    missing = {"onnxruntime": [required(">=1.20", None, name="onnxruntime")]}
    monkeypatch.setattr(extras, "requirements", lambda: missing)
    assert main(["doctor"]) == 0
    assert main(["doctor", "--extra", "onnxruntime"]) == 4
    assert "pip install 'tmkd-deploy[onnxruntime]'" in capsys.readouterr().out


def test_an_extra_that_does_not_exist_is_refused(capsys) -> None:
    assert main(["doctor", "--extra", "traim"]) == 2
    told = capsys.readouterr().err
    assert "traim" in told and "train" in told
    assert main(["doctor", "--extra", "train", "--device", "local"]) == 2


def test_a_wrong_recipe_is_refused(tmp_path: Path) -> None:
    assert main(["doctor", str(tmp_path / "recipe.yaml")]) == 2
