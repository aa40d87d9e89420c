"""Recipes are read strictly, and every complaint names its place and its cure."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmkd_deploy.errors import ExitCode, RequestError
from tmkd_deploy.recipe import starter
from tmkd_deploy.recipe.load import load
from tmkd_deploy.recipe.prompts import PROMPT_SETS
from tmkd_deploy.recipe.schema import Distill, Recipe
from tmkd_deploy.records.class_names import class_name_problem

BASE = """\
name: example
data: {source: elpv}
targets:
  - target: cpu
    budgets: {latency_p99_ms: 5}
"""


@pytest.fixture
def recipe(tmp_path: Path):
    def loaded(text: str, *overrides: str) -> Recipe:
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return load(path, overrides)

    return loaded


@pytest.fixture
def refused(recipe):
    def error(text: str, *overrides: str) -> RequestError:
        with pytest.raises(RequestError) as caught:
            recipe(text, *overrides)
        assert caught.value.exit_code is ExitCode.REQUEST
        assert caught.value.advice
        return caught.value

    return error


def test_defaults_fill_what_is_left_out(recipe) -> None:
    loaded = recipe(BASE)
    assert loaded.distill == Distill()
    assert loaded.targets[0].budgets.latency_p99_ms == 5


def test_an_unknown_key_is_refused_with_line_and_nearest_name(refused) -> None:
    error = refused(BASE + "distill:\n  batch_size: 16\n  epoch: 3\n")
    assert error.where is not None and error.where.endswith("recipe.yaml:8 (distill.epoch)")
    assert error.advice == 'Did you mean "epochs"?'


def test_an_unknown_section_is_refused_with_the_nearest_one(refused) -> None:
    error = refused(BASE + "distil: {epochs: 3}\n")
    assert error.where is not None and error.where.endswith(":6 (distil)")
    assert error.advice == 'Did you mean "distill"?'


@pytest.mark.parametrize(
    ("line", "expected", "got"),
    [
        ("epochs: many", "a whole number", "'many'"),
        ("epochs: '3'", "a whole number", "'3'"),
        ("epochs: true", "a whole number", "true"),
        ("epochs: 2.5", "a whole number", "2.5"),
        ("epochs: -1", "at least 0", "-1"),
        ("temperature: -1", "above 0", "-1"),
        ("temperature: .nan", "a number", "'.nan'"),
        ("text_weights: yes", "true or false", "'yes'"),
        ("logit_loss: kdd", "'kd', 'dkd' or 'dist'", "'kdd'"),
        ("views: rgb", "a list", "'rgb'"),
    ],
)
def test_a_wrong_value_is_told_with_what_was_expected(refused, line, expected, got) -> None:
    error = refused(f"{BASE}distill:\n  {line}\n")
    key = line.partition(":")[0]
    assert error.where is not None and error.where.endswith(f":7 (distill.{key})")
    assert expected in error.problem
    assert error.problem.endswith(f"got {got}.")


def test_a_mistyped_choice_offers_the_nearest(refused) -> None:
    error = refused(BASE.replace("elpv", "elvp"))
    assert error.advice == 'Did you mean "elpv"?'


def test_all_problems_are_told_together(refused) -> None:
    error = refused(BASE.replace("cpu", "cqu") + "distill: {epoch: 3, temperature: hot}\n")
    for part in ("3 problems", '"epochs"', ":6 (distill.temperature)", 'no target "cqu"', '"cpu"'):
        assert part in error.problem


def test_missing_sections_are_named(refused) -> None:
    error = refused("name: example\n")
    assert '"data" is missing' in error.problem
    assert '"targets" is missing' in error.problem


def test_a_rule_between_keys_is_told_at_its_section(refused) -> None:
    error = refused(BASE.replace("elpv", "folder"))
    assert error.where is not None and error.where.endswith(":2 (data)")
    assert "'path'" in error.problem


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ("8", "at least 16"),
        ("[64]", "at least 2 entries"),
        ("[64, 64, 3]", "at most 2 entries"),
        ("[64, 2000]", "at most 1024"),
        ("64 x 96", "a whole number or a list"),
    ],
)
def test_an_image_size_is_one_side_or_two(refused, size, words) -> None:
    error = refused(BASE.replace("elpv", f"elpv, image_size: {size}"))
    assert words in error.problem and "data.image_size" in error.where


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("mean: auto", "both 'mean' and 'std'"),
        ("mean: [124, 116, 104], std: auto", "at most 1"),
        ("mean: [0.5], std: auto", "at least 3 entries"),
        ("mean: auto, std: [0, 0.5, 0.5]", "above 0"),
        ("mean: automatic, std: auto", "'auto' or a list"),
    ],
)
def test_a_normalisation_is_whole_and_in_range(refused, keys, words) -> None:
    assert words in refused(BASE.replace("elpv", f"elpv, {keys}")).problem


def test_quarter_turns_need_square_images(recipe, refused) -> None:
    oblong = BASE.replace("elpv", "elpv, image_size: [64, 96]")
    assert recipe(oblong).data.image_size == [64, 96]
    recipe(oblong.replace("96", "64"), "distill.augment=dihedral")
    assert "a square data.image_size" in refused(oblong, "distill.augment=dihedral").problem


@pytest.mark.parametrize("name", ["cqu", "rtx-adda", "jetsn"])
def test_an_unknown_target_offers_the_nearest(refused, name) -> None:
    error = refused(BASE.replace("cpu", name))
    assert error.where is not None and error.where.endswith(":4 (targets[0].target)")
    assert "Did you mean" in error.advice


def test_an_alias_stays_until_a_device_may_say_what_it_stands_for(recipe) -> None:
    assert recipe(BASE.replace("cpu", "jetson")).targets[0].target == "jetson"


def test_an_alias_and_its_target_are_the_same_target(refused) -> None:
    error = refused(BASE.replace("cpu", "jetson") + "  - target: jetson-orin-nano\n")
    assert "twice" in error.problem


def test_augmentations_that_cannot_be_cached_are_named(refused) -> None:
    error = refused(BASE + "distill: {augmentations: [trivialaugment, color_jitter]}\n")
    assert "trivialaugment, color_jitter" in str(error)
    assert "teacher_outputs: live" in str(error)
    error = refused(BASE + "distill: {mix: mixup}\n")
    assert "cached: mixup. Set teacher_outputs: live" in str(error)


def test_only_the_student_is_trained_on_mixed_images(recipe, refused) -> None:
    assert recipe(BASE + "distill: {mix: mixup, teacher_outputs: live}\n").distill.mix == "mixup"
    error = refused(BASE + "teacher: {visual: {mix: mixup}}\n")
    assert 'no key "mix" in teacher.visual' in error.problem


def test_the_teacher_may_have_augmentations_while_outputs_are_cached(recipe) -> None:
    loaded = recipe(BASE + "teacher: {visual: {augmentations: [random_erasing]}}\n")
    assert loaded.teacher.visual.augmentations == ["random_erasing"]


def test_an_augmentation_listed_twice_is_an_error(refused) -> None:
    listed = "[color_jitter, color_jitter]"
    error = refused(BASE + f"distill: {{teacher_outputs: live, augmentations: {listed}}}\n")
    assert "listed twice" in str(error)


def test_mistyped_weights_offer_the_nearest(refused) -> None:
    error = refused(BASE + "student: {weights: pretraind}\n")
    assert '"pretrained"' in error.advice


def test_relative_paths_start_at_the_recipes_folder(recipe, tmp_path: Path) -> None:
    loaded = recipe(
        BASE.replace("elpv", "folder, path: ../images/*")
        + "student: {weights: ./student.safetensors}\n"
        + "teacher: {visual: {weights: none}, text: {checkpoint: clip.pt}}\n"
    )
    assert loaded.data.path == tmp_path.parent / "images" / "*"
    assert loaded.student.weights == str(tmp_path / "student.safetensors")
    assert loaded.teacher.visual.weights == "none"
    assert loaded.teacher.text.checkpoint == tmp_path / "clip.pt"


def test_words_that_older_yaml_takes_for_truth_are_text(recipe) -> None:
    loaded = recipe(BASE.replace("elpv", "elpv, class_names: [no, yes, 2024-01-31]"))
    assert loaded.data.class_names == ["no", "yes", "2024-01-31"]


def test_numbers_with_an_exponent_are_numbers(recipe) -> None:
    assert recipe(BASE + "distill: {learning_rate: 1e-3}\n").distill.learning_rate == 1e-3


def test_anchors_may_repeat_values(recipe) -> None:
    text = (
        BASE.replace("budgets: {", "budgets: &tight {") + "  - {target: rtx-ada, budgets: *tight}\n"
    )
    loaded = recipe(text)
    assert loaded.targets[1].budgets == loaded.targets[0].budgets


BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("name: a\nname: b\n", ":2 (name)", "given twice, first in line 1"),
        ("name: a\ndata: {source: elpv, source: elpv}\n", ":2 (data.source)", "given twice"),
        ("name: a\ndata: [\n", ":3", "not valid YAML"),
        ("name: a\n\tdata: 3\n", ":2", "not valid YAML"),
        ("name: !!python/object/apply:os.system [ls]\n", ":1", "is not allowed"),
        ("name: a\x07b\n", "", "characters"),
        ('name: "\\ud800"\n', ":1", "not a valid value"),
        ("<<: {name: a}\n", ":1", "merge keys are not supported"),
        ("? [a, b]\n: 3\n", ":1", "plain words"),
        ("distill: {temperature: 1e999}\n", ":1", "not a valid value"),
        ("a: &a [*a]\n", ":1", "nested too deeply"),
        (BOMB, "", "repeats its aliases too often"),
        ("[" * 5000, "", "nested too deeply"),
        ("", "", "empty"),
        ("- name\n", "", "no keys"),
        ("# " + "x" * 1_100_000, "", "larger than 1 MiB"),
    ],
)
def test_what_is_no_plain_yaml_is_refused(refused, text, place, words) -> None:
    error = refused(text)
    assert error.where is not None and f"recipe.yaml{place}" in error.where
    assert words in error.problem


@settings(deadline=None)
@given(st.text(max_size=200) | st.text(alphabet="ab:- \n[]{}&*!|>'\"#,0.~", max_size=80))
def test_no_text_at_all_makes_it_fail_in_another_way(tmp_path_factory, text) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(RequestError):
        load(path)


def test_a_recipe_that_is_not_there_offers_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(BASE)
    with pytest.raises(RequestError, match=r"recipe\.yaml") as caught:
        load(tmp_path / "recpie.yaml")
    assert "recipe init" in caught.value.advice


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="folder"):
        load(tmp_path)


def test_bytes_that_are_no_text_are_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(RequestError, match="UTF-8"):
        load(path)


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("distill.epochs=7", lambda recipe: recipe.distill.epochs == 7),
        ("teacher.text.epochs=7", lambda recipe: recipe.teacher.text.epochs == 7),
        ("distill.learning_rate=1e-4", lambda recipe: recipe.distill.learning_rate == 1e-4),
        ("distill.views=[rgb]", lambda recipe: recipe.distill.views == ["rgb"]),
        (
            "student.model_kwargs.stem_width=8",
            lambda recipe: recipe.student.model_kwargs["stem_width"],
        ),
        ("targets.0.budgets.accuracy=0.9", lambda recipe: recipe.targets[0].budgets.accuracy),
        ("targets.cpu.budgets.accuracy=0.9", lambda recipe: recipe.targets[0].budgets.accuracy),
        (
            "targets.cpu.budgets.latency_p99_ms=null",
            lambda recipe: recipe.targets[0].budgets.latency_p99_ms is None,
        ),
        ("targets=[{target: rtx-ada}]", lambda recipe: recipe.targets[0].target == "rtx-ada"),
        ("name=a=b", lambda recipe: False),
    ],
)
def test_an_override_sets_any_key(recipe, override, read) -> None:
    if override == "name=a=b":
        with pytest.raises(RequestError, match="--set name=a=b"):
            recipe(BASE, override)
    else:
        assert read(recipe(BASE, override))


def test_a_later_override_wins(recipe) -> None:
    assert recipe(BASE, "seed=1", "seed=2").seed == 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("distill.epoch=4", '"epochs"'),
        ("distil.epochs=4", '"distill"'),
        ("targets.cpuu.budgets.accuracy=1", '"cpu"'),
        ("targets.1.budgets.accuracy=1", "it has 1"),
        ("name.first=4", "single value"),
        ("distill.epochs", "like --set"),
        ("=3", "like --set"),
        ("distill.epochs=[", "not valid YAML"),
        ("distill.epochs=x", "a whole number"),
    ],
)
def test_a_wrong_override_is_refused_at_its_place(refused, override, words) -> None:
    error = refused(BASE, override)
    assert error.where is not None and error.where.startswith(f"--set {override}")
    assert words in str(error)


@pytest.mark.parametrize("source", starter.LOCATIONS)
@pytest.mark.parametrize("target", ["cpu", "jetson"])
def test_the_starter_recipe_loads(tmp_path: Path, source, target) -> None:
    path = tmp_path / "recipe.yaml"
    starter.write(path, source, target)
    assert load(path).data.source == source


def test_the_starter_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("mine")
    with pytest.raises(RequestError, match="already"):
        starter.write(path, "folder", "cpu")
    assert path.read_text() == "mine"


def test_the_starter_offers_the_nearest_source(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match='"folder"'):
        starter.write(tmp_path / "recipe.yaml", "foldr", "cpu")


@settings(deadline=None)
@given(
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
    classes=st.none()
    | st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4).filter(
        lambda names: class_name_problem(names) is None
    ),
    rate=st.floats(1e-12, 1e6),
    width=st.integers(0, 2**14) | st.floats(0, 2**14),
)
def test_a_recipe_written_out_loads_back_the_same(
    tmp_path_factory, name, classes, rate, width
) -> None:
    recipe = Recipe.model_validate(
        {
            "name": name,
            "data": {"source": "elpv", "class_names": classes},
            "targets": [{"target": "cpu"}],
            "distill": {"learning_rate": rate},
            "student": {"model_kwargs": {"width": width}},
        }
    )
    path = tmp_path_factory.getbasetemp() / "resolved.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    assert load(path) == recipe


def test_every_default_is_written_out(recipe) -> None:
    text = recipe(BASE).to_yaml()
    assert "contrastive_temperature: 0.07" in text
    assert "percentile: 99.99" in text


def test_the_kind_of_images_fills_in_the_templates(recipe) -> None:
    assert recipe(BASE).prompts.rgb == PROMPT_SETS["general"]["rgb"]
    for kind, templates in PROMPT_SETS.items():
        prompts = recipe(BASE + f"prompts: {{domain: {kind}}}\n").prompts
        assert prompts.model_dump() == {"domain": kind, **templates}


def test_own_templates_stand_in_place_of_those_of_the_kind(recipe) -> None:
    loaded = recipe(BASE + 'prompts: {domain: industrial, edge: ["contours of {class}"]}\n')
    assert loaded.prompts.edge == ["contours of {class}"]
    assert loaded.prompts.freq == PROMPT_SETS["industrial"]["freq"]
    assert "contours of {class}" in loaded.to_yaml()
    assert recipe(loaded.to_yaml()) == loaded


def test_a_kind_that_nobody_knows_is_refused(refused) -> None:
    assert refused(BASE + "prompts: {domain: industry}\n").advice == 'Did you mean "industrial"?'
    assert "'general'" in refused(BASE + "prompts: {domain: [general]}\n").problem


def test_embeddings_take_the_place_of_a_model(recipe, tmp_path: Path) -> None:
    loaded = recipe(BASE + "teacher: {text: {embeddings: clip.safetensors}}\n")
    text = loaded.teacher.text
    assert text.embeddings == tmp_path / "clip.safetensors"
    assert (text.model, text.epochs) == (None, 0)
    assert recipe(loaded.to_yaml()) == loaded


@pytest.mark.parametrize(
    "beside", ["model: ViT-B-32", "pretrained: openai", "checkpoint: clip.pt", "epochs: 3"]
)
def test_embeddings_and_a_model_are_refused(refused, beside: str) -> None:
    error = refused(BASE + f"teacher:\n  text: {{embeddings: a.safetensors, {beside}}}\n")
    assert f"remove '{beside.partition(':')[0]}'" in error.problem
    assert error.where is not None and error.where.endswith(":7 (teacher.text)")


def test_a_text_teacher_of_nothing_is_refused(refused) -> None:
    assert (
        "set either 'model' or 'embeddings'"
        in refused(BASE + "teacher: {text: {model: null}}\n").problem
    )


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("folder, train: a", "'train' with 'test', 'val' or both"),
        ("folder, val: a, test: b", "'train' with 'test', 'val' or both"),
        ("folder, path: a, val: b", "not all of them"),
        ("elpv, val: a", "remove the paths"),
        ("folder, path: a, group_by: 'x*'", "'x*' has no {group}"),
        ("folder, path: a, group_by: 'column:x'", "needs the source 'table'"),
        ("elpv, group_by: folder", "not available for the source 'elpv'"),
        ("folder, path: a, columns: {label: x}", "belongs to the source 'table'"),
        ("elpv, fold: {number: 1, of: 5}, test_fraction: 0.2", "remove 'test_fraction' or 'fold'"),
        ("elpv, fold: {number: 4, of: 3}", "there are 3 folds and no fold 4"),
        ("elpv, fold: {number: 0, of: 3}", "a number of at least 1"),
        ("elpv, fold: {number: 1, of: 21}", "a number of at most 20"),
        ("elpv, fold: {number: 1}", 'The key "of" is missing'),
        ("elpv, fold: 3", "a section of keys with values"),
        ("folder, path: a, class_names: {a: x, b: x}", "two classes have the same name, 'x'"),
    ],
)
def test_rules_of_the_data_section_are_told(refused, data, told) -> None:
    assert told in refused(BASE.replace("elpv", data)).problem


def test_a_validation_path_starts_at_the_recipes_folder(recipe, tmp_path: Path) -> None:
    loaded = recipe(BASE.replace("elpv", "folder, train: a, val: b"))
    assert loaded.data.val == tmp_path / "b"


def test_a_fold_takes_the_place_of_the_fraction(recipe, refused) -> None:
    text = BASE.replace("elpv", "elpv, fold: {number: 1, of: 5}")
    loaded = recipe(text, "data.fold.number=3")
    assert loaded.data.fold is not None and loaded.data.fold.number == 3
    assert "test_fraction" not in loaded.to_yaml()
    assert recipe(loaded.to_yaml()) == loaded
    assert "remove 'test_fraction'" in refused(text, "data.test_fraction=0.3").problem
    assert 'no key "numbr"' in refused(text, "data.fold.numbr=3").problem


def test_new_class_names_survive_being_written_out(recipe) -> None:
    text = BASE.replace("elpv", "folder, path: a, class_names: {00000: stop, 1: go}")
    loaded = recipe(text)
    assert loaded.data.class_names == {"00000": "stop", "1": "go"}
    assert recipe(loaded.to_yaml()) == loaded


@pytest.mark.parametrize(
    "frame", ["640", "640 x 480", "640x480px", "0x480", "640X480", "-1x4", "99999x99999", "5x5000"]
)
def test_a_frame_is_a_size_that_an_application_can_pass(refused, frame) -> None:
    error = refused(BASE, f"targets.cpu.frame={frame}")
    assert "targets[0].frame" in str(error.where)


def test_a_frame_is_width_by_height(recipe) -> None:
    assert recipe(BASE, "targets.cpu.frame=640x480").targets[0].frame_size == (640, 480)
    assert recipe(BASE).targets[0].frame_size is None


def test_a_budget_on_frames_needs_a_frame(recipe, refused) -> None:
    budget = "targets.cpu.budgets.frame_p99_ms=5"
    assert "needs 'frame', such as 'frame: 640x480'" in refused(BASE, budget).problem
    assert recipe(BASE, budget, "targets.cpu.frame=64x48").targets[0].budgets.frame_p99_ms == 5
