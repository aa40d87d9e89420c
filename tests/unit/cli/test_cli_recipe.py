"""`recipe` and `targets` as a user types them."""

import json

import pytest
import yaml

from tmkd_deploy.cli.main import main
from tmkd_deploy.errors import ExitCode
from tmkd_deploy.recipe.load import load
from tmkd_deploy.targets import catalog


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_recipe_begins_with_one_target(here, capsys) -> None:
    arguments = ["recipe", "init", "--target", "cpu", "--target", "cpu-openvino"]
    assert main(arguments) == ExitCode.REQUEST
    assert "add cpu-openvino to the recipe's targets" in " ".join(capsys.readouterr().err.split())
    assert not (here / "recipe.yaml").exists()


@pytest.mark.parametrize("source", ["folder", "elpv"])
def test_a_first_recipe_is_written_and_sound(here, source, capsys) -> None:
    assert main(["recipe", "init", "--source", source, "--target", "rtx-ada"]) == 0
    for name in ("images/good", "images/bad"):
        (here / name).mkdir(parents=True)
        (here / name / "1.png").touch()
    assert main(["recipe", "check"]) == 0
    shown = capsys.readouterr().out
    assert shown.endswith("recipe.yaml is valid.\nNext: tmkd-deploy run --dry-run\n")
    assert load(here / "recipe.yaml").targets[0].target == "rtx-ada"


def test_a_recipe_is_never_overwritten(here, capsys) -> None:
    (here / "recipe.yaml").write_text("mine")
    assert main(["recipe", "init"]) == 2
    assert (here / "recipe.yaml").read_text() == "mine"
    assert "already" in capsys.readouterr().err


def test_a_resolved_recipe_can_be_used_again(here, capsys) -> None:
    main(["recipe", "init", "--source", "elpv"])
    capsys.readouterr()
    assert main(["recipe", "check", "--resolved", "--set", "distill.epochs=3"]) == 0
    (here / "resolved.yaml").write_text(capsys.readouterr().out)
    assert load(here / "resolved.yaml") == load(here / "recipe.yaml", ["distill.epochs=3"])


def test_missing_data_are_refused(here, capsys) -> None:
    main(["recipe", "init"])
    assert main(["recipe", "check"]) == ExitCode.DATA
    told = capsys.readouterr()
    assert "Where: data.path" in told.err and f"{here / 'images'} does not exist" in told.err
    assert "is valid" not in told.out


def test_the_schema_is_json_schema(capsys) -> None:
    assert main(["recipe", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["additionalProperties"] is False
    assert "distill" in schema["properties"]


def test_targets_are_listed(capsys) -> None:
    assert main(["targets", "list", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in content["targets"]] == catalog.names()
    assert main(["targets", "list"]) == 0
    assert "jetson is an alias of jetson-orin-nano." in capsys.readouterr().out


def test_a_target_is_shown_with_its_sources(capsys) -> None:
    assert main(["targets", "show", "jetson-thor"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown == catalog.get("jetson-thor").model_dump(mode="json")


def test_the_machine_is_probed(capsys) -> None:
    assert main(["targets", "probe", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cores"] >= 1
