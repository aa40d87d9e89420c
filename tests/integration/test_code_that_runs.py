"""What really runs in each stage lies within the code that its fingerprint covers."""

from __future__ import annotations

import json

import pytest
from project import Project, new_project, warm_python

from tmkd_deploy.code_hash import PACKAGE, reachable_files
from tmkd_deploy.pipeline.stage_graph import STAGES

# Runs the pipeline in place of the command, in one process. Every function of the package is
# compiled with a first line that notes its file for the stage at work; tracing all calls would take
# minutes. Children, which decode images where there are many, are not seen.
DRIVER = """
import ast, builtins, importlib.machinery, json, sys
from pathlib import Path

called, at_work = {}, []

def note(file):
    if at_work:
        called[at_work[-1]].add(file)

builtins.note_call = note

class Noting(importlib.machinery.SourceFileLoader):
    def get_code(self, name):
        tree = ast.parse(self.get_data(self.path))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = 1 if ast.get_docstring(node) is not None else 0
                line = ast.parse(f"note_call({self.path!r})").body
                node.body[first:first] = line
        return compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] != "tmkd_deploy":
            return None
        spec = super().find_spec(name, path, target)
        if spec is not None and spec.origin:
            spec.loader = Noting(name, spec.origin)
        return spec

sys.meta_path.insert(0, Finder)
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.pipeline.stage_graph import STAGES
from tmkd_deploy.pipeline.run import run
from tmkd_deploy.recipe.load import load

def watched(stage):
    original = stage.run
    def run(self, job):
        called.setdefault(stage.name, set())
        at_work.append(stage.name)
        try:
            return original(self, job)
        finally:
            at_work.pop()
    return run

for stage in STAGES.values():
    stage.run = watched(stage)
recipe = load(Path("recipe.yaml"), sys.argv[1:])
options = dict(runs=Path("runs"), targets=["cpu"], events=SilentEvents())
for goal in ("report", "sensitivity"):
    run(recipe, goal=goal, **options)
print(json.dumps({stage: sorted(files) for stage, files in called.items()}))
sys.exit()
"""
QUICK = (
    *("teacher.visual.epochs=1", "teacher.text.epochs=1", "distill.epochs=1"),
    *("quantize.epochs=1", "quantize.compare=[post_training]", "distill.weak_teacher=warn"),
)


@pytest.fixture(scope="module")
def called(images, tmp_path_factory) -> dict[str, list[str]]:
    project: Project = new_project(tmp_path_factory.mktemp("watched") / "project", images)
    done = warm_python().run(project, *QUICK, setup=DRIVER)
    assert done.code == 0, done.told
    return json.loads(done.out.splitlines()[-1])


def test_every_stage_was_watched(called) -> None:
    assert set(called) == set(STAGES)
    assert all(files for files in called.values())


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_runs_no_code_beyond_its_fingerprint(called, stage: str) -> None:
    # progress and messages go to whoever listens; they change no result
    listeners = {str(PACKAGE / "events.py")}
    covered = {str(path) for path in reachable_files(STAGES[stage].__module__)}
    assert set(called[stage]) <= covered | listeners
