"""What runs again and what does not, and what is left behind when something goes wrong."""

import json
import os

import pytest

from tmkd_deploy import artifacts
from tmkd_deploy.artifacts import Record, sweep_drafts
from tmkd_deploy.errors import ArtifactError, RequestError
from tmkd_deploy.pipeline import stage as stage_module
from tmkd_deploy.pipeline.stage import Runner, Stage, content_hash


class Text(Record):
    text: str


class Kitchen:
    """Three stages in a row: grind, brew and, beside brew, wash; each notes when it really ran."""

    def __init__(self, folder):
        self.folder = folder
        self.ran = []

    def stage(self, name, asks, inputs=None, rooms=("gate",), make=None):
        inputs = inputs or {}

        def write(folder):
            self.ran.append(name)
            above = "".join(artifact.record.text for artifact in inputs.values())
            text = above + json.dumps(asks)
            (folder / "out.txt").write_text(text)
            return Text(text=text)

        return Stage(name, self.folder / name, Text, asks, inputs, rooms, make or write)

    def all(self, runner=None, beans="arabica", water=90, soap="mild", rooms=("gate",)):
        runner = runner or Runner()
        self.ran.clear()
        ground = runner.run(self.stage("grind", {"beans": beans}))
        runner.run(self.stage("brew", {"water": water}, {"ground": ground}, rooms))
        runner.run(self.stage("wash", {"soap": soap}))
        return self.ran


@pytest.fixture
def kitchen(tmp_path):
    return Kitchen(tmp_path)


def no_drafts(folder):
    return not list(folder.rglob(".*-draft-*"))


def test_everything_runs_once_and_is_reused(kitchen):
    assert kitchen.all() == ["grind", "brew", "wash"]
    runner = Runner()
    assert kitchen.all(runner) == []
    assert [(result.stage, result.reused) for result in runner.results] == [
        ("grind", True),
        ("brew", True),
        ("wash", True),
    ]
    assert no_drafts(kitchen.folder)


def test_a_changed_wish_runs_its_stage_and_what_follows(kitchen):
    kitchen.all()
    assert kitchen.all(beans="robusta") == ["grind", "brew"]
    assert kitchen.all(beans="robusta", water=80) == ["brew"]
    assert kitchen.all(beans="robusta", water=80, soap="strong") == ["wash"]
    assert "robusta" in (kitchen.folder / "brew" / "out.txt").read_text()


def test_a_wish_taken_back_runs_again(kitchen):
    kitchen.all()
    kitchen.all(beans="robusta")
    assert kitchen.all() == ["grind", "brew"]


def test_changed_code_runs_the_stages_that_use_it(kitchen, tmp_path_factory, monkeypatch):
    package = tmp_path_factory.mktemp("package")
    (package / "gate").mkdir()
    (package / "gate" / "judge.py").write_text("one = 1\n")
    (package / "brewing.py").write_text("two = 2\n")
    monkeypatch.setattr(stage_module, "_PACKAGE", package)
    # what a process once read of the code it keeps, as its own code does not change either
    forget = stage_module._code_hash.cache_clear
    try:
        forget()
        kitchen.all(rooms=("brewing.py",))
        (package / "brewing.py").write_text("two = 3\n")
        forget()
        assert kitchen.all(rooms=("brewing.py",)) == ["brew"]
        (package / "gate" / "more.py").write_text("")
        forget()
        assert kitchen.all(rooms=("brewing.py",)) == ["grind", "wash"]
        (package / "gate" / "notes.txt").write_text("no code")
        forget()
        assert kitchen.all(rooms=("brewing.py",)) == []
    finally:
        forget()


def test_a_stage_that_gives_the_same_result_stops_the_chain(kitchen):
    """What follows depends on the content, not on when it was made."""
    kitchen.all()
    assert kitchen.all(Runner(force="grind")) == ["grind"]


def test_force_runs_the_named_stage_alone(kitchen):
    kitchen.all()
    assert kitchen.all(Runner(force="brew")) == ["brew"]


class TestOnly:
    """One stage on what the run folder holds."""

    def test_the_others_are_taken_stale(self, kitchen):
        kitchen.all()
        runner = Runner(only="brew")
        assert kitchen.all(runner, beans="robusta", soap="strong") == ["brew"]
        assert "arabica" in (kitchen.folder / "brew" / "out.txt").read_text()
        reused = {result.stage: result.reused for result in runner.results}
        assert reused == {"grind": True, "brew": False, "wash": True}

    def test_it_runs_although_it_is_fresh(self, kitchen):
        kitchen.all()
        assert kitchen.all(Runner(only="wash")) == ["wash"]

    def test_a_missing_result_is_named(self, kitchen):
        with pytest.raises(RequestError, match="no result of the stage 'grind'") as caught:
            kitchen.all(Runner(only="brew"))
        assert "--only" in caught.value.advice
        assert kitchen.ran == []

    def test_its_result_is_stale_for_a_later_whole_run(self, kitchen):
        kitchen.all()
        kitchen.all(Runner(only="brew"), water=70)
        assert kitchen.all() == ["brew"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, ValueError, OSError])
def test_an_interrupted_stage_leaves_nothing_behind(kitchen, interruption):
    def make(folder):
        (folder / "half.bin").write_bytes(b"half")
        raise interruption

    with pytest.raises(interruption):
        Runner().run(kitchen.stage("grind", {"beans": "arabica"}, make=make))
    assert list(kitchen.folder.iterdir()) == []
    assert kitchen.all() == ["grind", "brew", "wash"]


def test_an_interrupted_second_run_keeps_the_first_result(kitchen):
    kitchen.all()

    def make(folder):
        (folder / "half.bin").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Runner().run(kitchen.stage("grind", {"beans": "robusta"}, make=make))
    assert no_drafts(kitchen.folder)
    assert kitchen.all() == []


def interrupted_after(monkeypatch, name, wanted):
    """Ctrl-C as soon as the operating system has done `name`, the first time that is `wanted`."""
    real, waiting = getattr(os, name), [True]

    def interrupted(*arguments, **options):
        done = real(*arguments, **options)
        if waiting and wanted(*map(str, arguments[:2])):
            waiting.clear()
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(os, name, interrupted)


def test_an_interrupt_as_soon_as_the_draft_is_there_leaves_none(kitchen, monkeypatch):
    interrupted_after(monkeypatch, "mkdir", lambda path, *_: "-draft-" in path)
    with pytest.raises(KeyboardInterrupt):
        kitchen.all()
    assert no_drafts(kitchen.folder)
    assert kitchen.all() == ["grind", "brew", "wash"]


def test_an_interrupt_between_the_old_result_and_the_new_one_keeps_the_old(kitchen, monkeypatch):
    kitchen.all(water=80)
    brewed = kitchen.folder / "brew" / "out.txt"
    old = brewed.read_text()
    interrupted_after(monkeypatch, "replace", lambda source, _: source == str(brewed.parent))
    with pytest.raises(KeyboardInterrupt):
        kitchen.all(water=90)
    assert brewed.read_text() == old
    assert no_drafts(kitchen.folder)
    assert kitchen.all(water=90) == ["brew"]


def test_what_a_killed_process_left_is_swept_and_nothing_else(kitchen):
    kitchen.all()
    draft = kitchen.folder / ".brew-draft-abc"
    draft.mkdir()
    (draft / "half.bin").write_bytes(b"half")
    (kitchen.folder / ".menu.html-draft-1").write_text("half a file")
    sweep_drafts(kitchen.folder)
    assert sorted(path.name for path in kitchen.folder.iterdir()) == ["brew", "grind", "wash"]
    assert kitchen.all() == []


@pytest.mark.parametrize("tampering", ["edit", "truncate", "remove"])
def test_a_tampered_artifact_is_never_used(kitchen, tampering):
    kitchen.all()
    out = kitchen.folder / "grind" / "out.txt"
    content = out.read_text()
    if tampering == "edit":
        out.write_text(content.replace("arabica", "robusta"))
    elif tampering == "truncate":
        out.write_text(content[:-3])
    else:
        out.unlink()
    with pytest.raises(ArtifactError, match=r"altered|truncated") as caught:
        kitchen.all()
    assert caught.value.where == str(kitchen.folder / "grind")
    assert kitchen.ran == []


@pytest.mark.parametrize("manifest", ["", "{}", "[]", "no json", '{"schema_version": 99}'])
def test_an_unreadable_manifest_is_no_result(kitchen, manifest):
    """The stage is run again, as if its folder were not there."""
    kitchen.all()
    (kitchen.folder / "grind" / "manifest.json").write_text(manifest)
    assert kitchen.all() == ["grind"]


def test_an_artifact_of_another_kind_is_refused(kitchen):
    kitchen.all()
    with pytest.raises(ArtifactError, match="'grind' artifact where 'brew' is needed"):
        artifacts.read(kitchen.folder / "grind", "brew", Text)


def test_content_is_files_and_facts(kitchen):
    runner = Runner()
    first = runner.run(kitchen.stage("grind", {"beans": "arabica"}))
    again = Runner(force="grind").run(kitchen.stage("grind", {"beans": "arabica"}))
    other = runner.run(kitchen.stage("grind", {"beans": "robusta"}))
    assert content_hash(first) == content_hash(again) != content_hash(other)
