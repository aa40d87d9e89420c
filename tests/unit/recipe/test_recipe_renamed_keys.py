"""Old keys are accepted with a warning, and `recipe upgrade` changes them and nothing else."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tmkd_deploy.cli.main import main
from tmkd_deploy.errors import RequestError
from tmkd_deploy.recipe.load import load
from tmkd_deploy.recipe.renamed_keys import RENAMED, RENAMED_VALUES
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.recipe.upgrade import upgrade
from tmkd_deploy.yaml_document import KeyPath

OLD_RECIPES = sorted((Path(__file__).parents[2] / "fixtures" / "recipes-0.1").glob("*.yaml"))

EVERY_OLD_KEY = """\
name: old
data: {source: elpv, corrupt_images_allowed: 1, overlapping_images_allowed: 2}
prompts: {kind: industrial}
student:
  arguments: {stem_width: 16}
distill:
  "decay": 'steps'   # the schedule
  dkd_others_weight: 2.0

  teacher_ramp: 3
  signals: live
  cached_variants: 4
quantize: {leave_out: [fc], fallback: 2}
measure: {warm_up_seconds: 2.0, minimum_runs: 30, minimum_seconds: 4.0}
targets:
- target: cpu
  budgets: {accuracy: 0.5, engine_megabytes: 2.0}
-   {target: rtx-ada, budgets: {"engine_megabytes": 3}}
"""

SMALL = "name: a\ndata: {source: elpv}\ntargets: [{target: cpu}]\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def written(text: str) -> Path:
        Path("recipe.yaml").write_bytes(text.encode())
        return Path("recipe.yaml")

    return written


def loaded(path: Path, *overrides: str):
    warnings: list[str] = []
    return load(path, overrides, warnings.append), warnings


def section_and_key(pattern: str) -> tuple[KeyPath, str]:
    *section, key = pattern.split(".")
    path: list[str | int] = []
    for part in section:
        path += [part.removesuffix("[]"), *([0] if part.endswith("[]") else [])]
    return tuple(path), key


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_the_table_agrees_with_the_schema(old: str, new: str) -> None:
    section, old_key = section_and_key(old)
    new_section, new_key = section_and_key(new)
    assert section == new_section
    keys = Recipe.keys_at(section)
    assert keys is not None and new_key in keys and old_key not in keys
    assert f"{old_key}:" in EVERY_OLD_KEY or f'"{old_key}":' in EVERY_OLD_KEY


def test_renamed_values_belong_to_renamed_keys() -> None:
    assert RENAMED_VALUES.keys() <= RENAMED.keys()


def test_the_old_recipes_are_found() -> None:
    names = {path.stem for path in OLD_RECIPES}
    assert names == {
        "cifar100-resnet20",
        "imagenet-mobilenetv4",
        "industrial-folder",
        "quickstart",
    }


@pytest.mark.parametrize("path", OLD_RECIPES, ids=lambda path: path.stem)
def test_an_old_recipe_and_its_upgrade_mean_the_same(write, path: Path) -> None:
    old = path.read_text()
    recipe = write(old)
    before, warnings = loaded(recipe)
    upgraded = upgrade(recipe)
    assert len(warnings) == len(upgraded.changes) > 0
    assert recipe.read_text() == old
    write(upgraded.text)
    after, none_left = loaded(recipe)
    assert after == before and none_left == []
    assert comments(upgraded.text) == comments(old)
    assert upgrade(recipe).changes == [] and upgrade(recipe).text == upgraded.text


def test_every_old_key_warns_with_its_line_and_the_command(write) -> None:
    recipe, warnings = loaded(write(EVERY_OLD_KEY))
    assert recipe.distill.lr_schedule == "multistep"
    assert recipe.targets[1].budgets.engine_size_mb == 3
    assert len(warnings) == len(RENAMED) + 1
    assert warnings[4] == (
        "recipe.yaml:7: distill.decay was renamed to distill.lr_schedule "
        "('steps' is now 'multistep'). Run: tmkd-deploy recipe upgrade recipe.yaml"
    )
    assert warnings[-1].startswith(
        "recipe.yaml:18: targets[1].budgets.engine_megabytes was renamed to "
        "targets[1].budgets.engine_size_mb."
    )


def test_everything_but_the_old_keys_stays(write) -> None:
    recipe = write(EVERY_OLD_KEY)
    before, _ = loaded(recipe)
    assert main(["recipe", "upgrade"]) == 0
    lines = recipe.read_text().splitlines()
    assert lines[6] == "  \"lr_schedule\": 'multistep'   # the schedule"
    assert lines[8] == ""
    assert lines[-1] == '-   {target: rtx-ada, budgets: {"engine_size_mb": 3}}'
    assert without_names(recipe.read_text()) == without_names(EVERY_OLD_KEY)
    assert loaded(recipe) == (before, [])


def test_an_error_names_the_line_of_an_old_key(write) -> None:
    with pytest.raises(RequestError) as caught:
        loaded(write(EVERY_OLD_KEY.replace("teacher_ramp: 3", "teacher_ramp: x")))
    assert caught.value.where == "recipe.yaml:10 (distill.teacher_warmup_epochs)"


@pytest.mark.parametrize(
    "distill",
    ["{decay: steps, lr_schedule: multistep}", "{lr_schedule: cosine, decay: cosine}"],
)
def test_both_names_of_a_key_are_refused(write, distill: str) -> None:
    text = EVERY_OLD_KEY.partition("distill:")[0] + f"distill: {distill}\ntargets: []\n"
    with pytest.raises(RequestError, match="both are given") as caught:
        loaded(write(text))
    assert caught.value.where == "recipe.yaml:6 (distill.decay)"
    assert caught.value.advice == "Keep distill.lr_schedule and remove distill.decay."
    with pytest.raises(RequestError, match="both are given") as caught:
        loaded(write(EVERY_OLD_KEY), f"distill={distill}")
    assert caught.value.where == f"--set distill={distill}"


@pytest.mark.parametrize(
    ("override", "old", "read"),
    [
        (
            "quantize.leave_out=[stem, fc]",
            "quantize.leave_out",
            lambda recipe: recipe.quantize.exclude_layers == ["stem", "fc"],
        ),
        (
            "distill.decay=steps",
            "distill.decay",
            lambda recipe: recipe.distill.lr_schedule == "multistep",
        ),
        (
            "distill={decay: steps}",
            "distill.decay",
            lambda recipe: recipe.distill.lr_schedule == "multistep",
        ),
        (
            "student.arguments.stem_width=8",
            "student.arguments",
            lambda recipe: recipe.student.model_kwargs == {"stem_width": 8},
        ),
        (
            "targets.cpu.budgets.engine_megabytes=2",
            "targets[0].budgets.engine_megabytes",
            lambda recipe: recipe.targets[0].budgets.engine_size_mb == 2,
        ),
        (
            "targets=[{target: rtx-ada, budgets: {engine_megabytes: 2}}]",
            "targets[0].budgets.engine_megabytes",
            lambda recipe: recipe.targets[0].budgets.engine_size_mb == 2,
        ),
    ],
)
def test_an_override_may_use_old_names(write, override: str, old: str, read) -> None:
    path = write(SMALL)
    recipe, [warning] = loaded(path, override)
    assert read(recipe)
    assert warning.startswith(f"--set {override}: {old} was renamed to ")


@pytest.mark.parametrize("override", ["distill.decay=cosine", "distill.lr_schedule=cosine"])
def test_an_override_wins_over_the_file_under_either_name(write, override: str) -> None:
    recipe, _ = loaded(write(EVERY_OLD_KEY), override)
    assert recipe.distill.lr_schedule == "cosine"


@pytest.mark.parametrize("typo", ["decays: steps", "leave_outs: 3", "signal: live"])
def test_an_old_name_is_never_suggested(write, typo: str) -> None:
    with pytest.raises(RequestError) as caught:
        loaded(write(f"name: a\ndata: {{source: elpv}}\ntargets: [cpu]\ndistill: {{{typo}}}\n"))
    said = str(caught.value)
    assert not any(f'"{old.rpartition(".")[2]}"' in said for old in RENAMED)


def test_a_caller_without_a_listener_gets_python_warnings(write) -> None:
    path = write(
        "name: a\ndata: {source: elpv}\ntargets: [{target: cpu}]\nprompts: {kind: general}"
    )
    with pytest.warns(FutureWarning, match=r"prompts\.kind was renamed") as caught:
        load(path)
    assert caught[0].filename == __file__


def test_people_and_programs_are_warned(write, capsys) -> None:
    write(f"{SMALL}prompts: {{kind: general}}\n")
    assert main(["recipe", "check"]) == 0
    expected = (
        "recipe.yaml:4: prompts.kind was renamed to prompts.domain. "
        "Run: tmkd-deploy recipe upgrade recipe.yaml"
    )
    assert f"Warning: {expected}\n" in capsys.readouterr().err
    assert main(["recipe", "check", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["warnings"][0] == expected and told.err == ""


def test_check_and_stdout_write_nothing(write, capsys) -> None:
    recipe = write(EVERY_OLD_KEY)
    assert main(["recipe", "upgrade", "--check"]) == 1
    assert capsys.readouterr().out.endswith("Next: tmkd-deploy recipe upgrade recipe.yaml\n")
    assert main(["recipe", "upgrade", "--stdout"]) == 0
    printed = capsys.readouterr().out
    assert recipe.read_text() == EVERY_OLD_KEY
    assert main(["recipe", "upgrade"]) == 0
    assert capsys.readouterr().out.endswith("Next: tmkd-deploy recipe check recipe.yaml\n")
    assert recipe.read_text() == printed
    assert main(["recipe", "upgrade", "--check"]) == 0
    assert capsys.readouterr().out == "recipe.yaml has no old keys.\n"


def test_programs_get_the_changes(write, capsys) -> None:
    write(EVERY_OLD_KEY)
    assert main(["recipe", "upgrade", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["written"] and content["text"] is None
    assert content["changes"][3] == {
        "line": 5,
        "old": "student.arguments",
        "new": "student.model_kwargs",
    }


def test_a_recipe_with_errors_stays_as_it_is(write, capsys) -> None:
    text = EVERY_OLD_KEY + "distil: {}\n"
    recipe = write(text)
    assert main(["recipe", "upgrade"]) == 2
    assert "recipe.yaml:19 (distil)" in capsys.readouterr().err
    assert recipe.read_text() == text


def test_line_ends_byte_order_mark_mode_and_link_stay(write, tmp_path: Path) -> None:
    text = "\ufeffname: a\r\ndata: {source: elpv}\r\ntargets: [{target: cpu}]\r\nprompts:\r\n"
    file = write(f"{text}  kind: general\r\n").rename("file.yaml")
    file.chmod(0o640)
    Path("recipe.yaml").symlink_to(file)
    assert main(["recipe", "upgrade", "recipe.yaml"]) == 0
    assert file.read_bytes().decode() == f"{text}  domain: general\r\n"
    assert Path("recipe.yaml").is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file.yaml", "recipe.yaml"]


def test_an_alias_is_changed_once(write) -> None:
    recipe = write(
        "name: a\ndata: {source: elpv}\ntargets:\n"
        "  - {target: cpu, budgets: &tight {engine_megabytes: 2}}\n"
        "  - {target: rtx-ada, budgets: *tight}\n"
    )
    before, _ = loaded(recipe)
    assert main(["recipe", "upgrade"]) == 0
    assert "&tight {engine_size_mb: 2}" in recipe.read_text()
    assert loaded(recipe) == (before, [])


@pytest.mark.parametrize(
    "text",
    [
        "name: &x steps\ndata: {source: elpv}\ntargets: [{target: cpu}]\ndistill: {decay: *x}\n",
        "name: &x decay\ndata: {source: elpv}\ntargets: [{target: cpu}]\ndistill: {*x : cosine}\n",
    ],
)
def test_what_cannot_be_replaced_alone_is_refused(write, text: str, capsys) -> None:
    recipe = write(text)
    assert main(["recipe", "upgrade"]) == 2
    assert "without changing its meaning" in capsys.readouterr().err
    assert recipe.read_text() == text


OLD_VALUES = {
    "data.corrupt_images_allowed": st.integers(0, 9),
    "data.overlapping_images_allowed": st.integers(0, 9),
    "prompts.kind": st.sampled_from(["general", "industrial"]),
    "student.arguments": st.dictionaries(
        st.sampled_from(["depth", "layers", "width"]), st.integers(1, 9)
    ),
    "distill.decay": st.sampled_from(["steps", "cosine"]),
    "distill.dkd_others_weight": st.floats(0, 9),
    "distill.teacher_ramp": st.integers(0, 9),
    "distill.signals": st.sampled_from(["cached", "live"]),
    "distill.cached_variants": st.integers(1, 8),
    "quantize.leave_out": st.lists(st.sampled_from(["fc", "stem: 1", "#x", "leave_out", "é"])),
    "quantize.fallback": st.just(0),
    "measure.warm_up_seconds": st.floats(0.5, 9),
    "measure.minimum_runs": st.integers(20, 99),
    "measure.minimum_seconds": st.floats(0.5, 9),
    "targets[].budgets.engine_megabytes": st.floats(0.5, 9),
}


@st.composite
def old_recipes(draw: st.DrawFn) -> tuple[str, int]:
    """The text of a recipe, some keys of which are old, and how many."""
    values: dict = {"name": "a", "data": {"source": "elpv"}, "targets": []}
    for target in draw(st.lists(st.sampled_from(["cpu", "rtx-ada"]), min_size=1, unique=True)):
        values["targets"].append({"target": target, "budgets": {}})
    old_keys = 0
    for old, strategy in OLD_VALUES.items():
        (section, *rest), key = section_and_key(old)
        holders = values["targets"] if rest else [values.setdefault(section, {})]
        for holder in holders:
            name = draw(st.sampled_from([key, RENAMED[old].rpartition(".")[2], None]))
            value = draw(strategy)
            if name and name != key:
                value = RENAMED_VALUES.get(old, {}).get(value, value) if key == "decay" else value
            if name:
                (holder["budgets"] if rest else holder)[name] = value
            old_keys += name == key
    text = yaml.safe_dump(
        values,
        default_flow_style=draw(st.sampled_from([True, False, None])),
        indent=draw(st.integers(2, 6)),
        width=draw(st.sampled_from([20, 80, 1000])),
        allow_unicode=draw(st.booleans()),
        sort_keys=False,
        line_break=draw(st.sampled_from(["\n", "\r\n"])),
    )
    lines = []
    for line in text.splitlines(keepends=True):
        ending = line[len(line.rstrip("\r\n")) :]
        # between the lines of quoted text and of flow collections a comment may be text
        if re.match(r" *-? ?[a-z_]+:", line):
            lines += draw(st.sampled_from([[], [ending], [f"# decay: steps{ending}"]]))
        lines.append(line)
    return "".join(lines), old_keys


@settings(deadline=None, max_examples=40)
@given(old_recipes())
def test_any_old_recipe_and_its_upgrade_mean_the_same(tmp_path_factory, old) -> None:
    text, old_keys = old
    path = tmp_path_factory.getbasetemp() / "old.yaml"
    path.write_bytes(text.encode())
    before, warnings = loaded(path)
    assert len(set(warnings)) == old_keys
    upgraded = upgrade(path)
    assert len(upgraded.changes) == old_keys
    assert without_names(upgraded.text) == without_names(text)
    assert comments(upgraded.text) == comments(text)
    path.write_bytes(upgraded.text.encode())
    assert loaded(path) == (before, [])
    assert upgrade(path).text == upgraded.text


def comments(text: str) -> list[str]:
    return re.findall(r"(?:^|\s)#.*", text)


def without_names(text: str) -> str:
    """`text` with the same word for old names and present ones."""
    names = [name.rpartition(".")[2] for pair in RENAMED.items() for name in pair]
    names += [
        name for values in RENAMED_VALUES.values() for pair in values.items() for name in pair
    ]
    return re.sub(rf"\b({'|'.join(names)})\b", "NAME", text)
