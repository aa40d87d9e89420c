"""The command line starts light, and helps whoever mistypes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TRAINING = ("torch", "timm", "onnx", "onnxruntime")
HEAVY = (*TRAINING, "numpy", "yaml", "rich", "tmkd_deploy.recipe.schema")

PRINT_IMPORTED = """
import json, sys
from tmkd_deploy.cli.main import main
code = main(sys.argv[1:])
print(json.dumps([code, list(sys.modules)]), file=sys.stderr)
"""


def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tmkd_deploy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def imported_by(*arguments: str) -> tuple[int, set[str]]:
    """The exit code of a command, and the modules that it imported; a crash has neither."""
    command = [sys.executable, "-c", PRINT_IMPORTED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert "tmkd_deploy.cli.main" in modules
    return code, set(modules)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--help"], 0), (["run", "--help"], 0), (["--version"], 0), (["distil"], 2)],
)
def test_nothing_heavy_is_imported_to_start(arguments, code) -> None:
    found, modules = imported_by(*arguments)
    assert found == code
    assert not modules.intersection(HEAVY)


@pytest.mark.parametrize("arguments", [["targets", "list"], ["doctor"], ["recipe", "schema"]])
def test_light_commands_import_no_training_library(arguments) -> None:
    code, modules = imported_by(*arguments)
    assert code == 0
    assert not modules.intersection(TRAINING)


def test_help_lists_the_commands_in_the_order_of_the_work() -> None:
    lines = run("--help").stdout.partition("Commands:")[2].splitlines()
    commands = [line.split()[0] for line in lines if line.startswith("  ") and line.split()]
    expected = "run distill quantize export validate gate bundle report compare explain data"
    assert commands[:14] == [*expected.split(), "recipe", "targets", "doctor"]


@pytest.mark.parametrize("arguments", [[], ["recipe"], ["targets"]])
def test_a_group_alone_prints_its_help(arguments) -> None:
    done = run(*arguments)
    assert done.returncode == 0
    assert "Commands:" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "offered"),
    [
        (["distil"], '"distill"'),
        (["recipe", "chek"], '"check"'),
        (["bundle", "verfy", "x.tmkd"], '"verify"'),
        (["targets", "shwo"], '"show"'),
        (["distill", "--targget", "cpu"], "--target"),
        (["bundle", "--jsn"], "--json"),
        (["targets", "show", "rtx-adda"], '"rtx-ada"'),
        (["recipe", "init", "--source", "foldr"], '"folder"'),
    ],
)
def test_a_mistyped_name_is_answered_with_the_nearest(tmp_path, arguments, offered) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert f"Did you mean {offered}" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_may_be_had_as_json(tmp_path) -> None:
    done = run("distill", "--json", cwd=tmp_path)
    content = json.loads(done.stdout)
    assert done.returncode == content["exit_code"] == 2
    assert content["error"]["where"] == "recipe.yaml"
    assert "recipe init" in content["error"]["advice"]
    assert done.stderr == ""


def test_a_usage_error_may_be_had_as_json() -> None:
    done = run("compare", "--json", "a")
    assert json.loads(done.stdout)["exit_code"] == done.returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("arguments", [["targets", "list"], ["targets", "list", "--json"]])
def test_a_full_disk_is_told(arguments) -> None:
    command = [sys.executable, "-m", "tmkd_deploy", *arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 4
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_a_reader_who_leaves_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "tmkd_deploy", "targets", "list"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
