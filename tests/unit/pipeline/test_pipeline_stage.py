"""What runs again and what does not, and what is left behind when something goes wrong."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

import pytest

from tmkd_deploy import artifacts
from tmkd_deploy.artifacts import Record, sweep_drafts
from tmkd_deploy.errors import ArtifactError, RequestError
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.pipeline import runner
from tmkd_deploy.pipeline.run_context import RunContext
from tmkd_deploy.pipeline.runner import content_hash
from tmkd_deploy.pipeline.stage import Ref, Stage
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.training.process_group import SingleProcess


class Text(Record):
    text: str


class Step(Stage[None]):
    """A stage of the coffee kitchen: it writes its parameters below those of its inputs."""

    record_type = Text
    reads: tuple[str, ...] = ()

    def params(self):
        return self.context.recipe.asked[self.name]

    def inputs(self):
        return {name: Ref(name) for name in self.reads}

    def run(self, job):
        self.context.recipe.ran.append(self.name)
        above = "".join(artifact.record.text for artifact in job.inputs.values())
        text = above + json.dumps(self.params())
        (job.folder / "out.txt").write_text(text)
        hook = self.context.recipe.hooks.get(self.name)
        if hook:
            hook(job.folder)
        return Text(text=text)


class Grind(Step):
    name = "grind"


class Brew(Step):
    name = "brew"
    reads = ("grind",)


class Wash(Step):
    name = "wash"


@dataclass
class Asked:
    """What stands for a recipe here: each stage's parameters, which ran, what to do within."""

    asked: dict
    ran: list = field(default_factory=list)
    hooks: dict = field(default_factory=dict)


class Kitchen:
    """Three stages: brew reads what grind made, and wash stands beside them."""

    def __init__(self, folder):
        self.folder = folder
        self.ran = []
        self.results = []

    def context(self, beans="arabica", water=90, soap="mild", **options):
        asked = {"grind": {"beans": beans}, "brew": {"water": water}, "wash": {"soap": soap}}
        return RunContext(
            Asked(asked, self.ran, options.pop("hooks", {})),
            self.folder,
            options.pop("events", SilentEvents()),
            None,
            SingleProcess(),
            QuantScheme.S8,
            **options,
        )

    def all(self, goals=("brew", "wash"), **options):
        self.ran.clear()
        context = self.context(**options)
        for goal in goals:
            runner.artifact(context, Ref(goal))
        self.results = context.results
        return self.ran


@pytest.fixture
def kitchen(tmp_path, monkeypatch):
    stages = {stage.name: stage for stage in (Grind, Brew, Wash)}
    monkeypatch.setattr(runner, "STAGES", stages)
    return Kitchen(tmp_path)


def no_drafts(folder):
    return not list(folder.rglob(".*-draft-*"))


def test_everything_runs_once_and_is_reused(kitchen):
    assert kitchen.all() == ["grind", "brew", "wash"]
    assert kitchen.all() == []
    assert [(result.stage, result.reused) for result in kitchen.results] == [
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


def test_changed_code_runs_the_stages_that_reach_it(kitchen, monkeypatch):
    code = {"grind": "1", "brew": "1", "wash": "1"}
    for stage in (Grind, Brew, Wash):
        monkeypatch.setattr(stage, "__module__", stage.name)
    monkeypatch.setattr(runner, "code_hash", code.__getitem__)
    kitchen.all()
    code["brew"] = "2"
    assert kitchen.all() == ["brew"]
    code["grind"] = "2"
    assert kitchen.all() == ["grind"], "the same result, so what reads it stays fresh"


def test_a_stage_that_gives_the_same_result_stops_the_chain(kitchen):
    """What follows depends on the content, not on when it was made."""
    kitchen.all()
    assert kitchen.all(force="grind") == ["grind"]


def test_messages_number_the_stages_that_run(kitchen):
    class Listener(SilentEvents):
        def __init__(self):
            self.said = []

        def say(self, message):
            self.said.append(message)

    def said(**options):
        listener = Listener()
        context = kitchen.context(events=listener, **options)
        refs = [Ref("brew"), Ref("wash")]
        runner.number_stages(context, refs)
        for ref in refs:
            runner.artifact(context, ref)
        return listener.said

    assert said() == ["Stage 1 of 3: grind", "Stage 2 of 3: brew", "Stage 3 of 3: wash"]
    assert said() == []
    assert said(water=80) == ["Stage 2 of 3: brew"]


def test_force_runs_the_named_stage_alone(kitchen):
    kitchen.all()
    assert kitchen.all(force="brew") == ["brew"]


class TestOnly:
    """One stage on what the run folder holds."""

    def test_the_others_are_taken_stale(self, kitchen):
        kitchen.all()
        assert kitchen.all(goals=["brew"], only="brew", beans="robusta") == ["brew"]
        assert "arabica" in (kitchen.folder / "brew" / "out.txt").read_text()
        reused = {result.stage: result.reused for result in kitchen.results}
        assert reused == {"grind": True, "brew": False}

    def test_it_runs_although_it_is_fresh(self, kitchen):
        kitchen.all()
        assert kitchen.all(goals=["wash"], only="wash") == ["wash"]

    def test_a_missing_result_is_named(self, kitchen):
        with pytest.raises(
            RequestError, match="'brew' needs the result of the stage 'grind'"
        ) as it:
            kitchen.all(goals=["brew"], only="brew")
        assert "--only" in it.value.advice
        assert kitchen.ran == []

    def test_its_result_is_stale_for_a_later_whole_run(self, kitchen):
        kitchen.all()
        kitchen.all(goals=["brew"], only="brew", water=70)
        assert kitchen.all() == ["brew"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, ValueError, OSError])
def test_an_interrupted_stage_leaves_nothing_behind(kitchen, interruption):
    def stop(folder):
        raise interruption

    with pytest.raises(interruption):
        kitchen.all(hooks={"grind": stop})
    assert list(kitchen.folder.iterdir()) == []
    assert kitchen.all() == ["grind", "brew", "wash"]


def test_an_interrupted_second_run_keeps_the_first_result(kitchen):
    kitchen.all()

    def stop(folder):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kitchen.all(hooks={"grind": stop}, beans="robusta")
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
    with pytest.raises(ArtifactError, match="'grind' artifact, but 'brew' is required"):
        artifacts.read(kitchen.folder / "grind", "brew", Text)


def test_content_is_files_and_record(kitchen):
    first = runner.artifact(kitchen.context(), Ref("grind"))
    again = runner.artifact(kitchen.context(force="grind"), Ref("grind"))
    other = runner.artifact(kitchen.context(beans="robusta"), Ref("grind"))
    assert content_hash(first) == content_hash(again) != content_hash(other)
