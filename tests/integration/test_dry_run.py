"""`run --dry-run`: what a run would do, without doing it."""

from __future__ import annotations

from project import Project


def plan(project: Project, *more: str) -> list[dict[str, object]]:
    done = project.run("run", "--dry-run", "--json", *more)
    assert done.code == 0, done.told
    found: list[dict[str, object]] = done.json()["stages"]
    return found


def test_a_run_that_has_not_begun_is_planned_and_nothing_is_written(
    fresh_project: Project,
) -> None:
    before = sorted(fresh_project.folder.rglob("*"))
    stages = plan(fresh_project)
    assert all(each["runs"] for each in stages)
    seconds = {str(each["stage"]): each["seconds"] for each in stages}
    for trained in ("train_teacher", "distill", "quantize"):
        assert isinstance(seconds[trained], float) and seconds[trained] > 0
    assert seconds["gate"] is None
    assert sorted(fresh_project.folder.rglob("*")) == before


def test_a_plan_names_the_stages_that_then_run(project: Project) -> None:
    assert not any(each["runs"] for each in plan(project))
    assert "Everything is up to date." in project.run("run", "--dry-run").out
    change = ("--set", "targets.cpu.budgets.engine_size_mb=4")
    planned = plan(project, *change)
    to_run = [(each["stage"], each["target"]) for each in planned if each["runs"]]
    assert to_run[0] == ("gate", "cpu") and to_run[-1] == ("report", None)
    done = project.run("run", "--json", *change)
    stages = done.json()["stages"]
    assert [(each["stage"], each["target"]) for each in planned] == [
        (each["stage"], each["target"]) for each in stages
    ]
    made = [(each["stage"], each["target"]) for each in stages if not each["reused"]]
    # a stage whose inputs come out as before need not run after all
    assert set(made) <= set(to_run) and made[0] == to_run[0]


def test_what_cannot_run_cannot_be_planned(fresh_project: Project) -> None:
    done = fresh_project.run("run", "--dry-run", "--set", "student.model=resnet10")
    assert done.code == 2 and "resnet10t" in done.err
    done = fresh_project.run("run", "--dry-run", "--set", "data.train=nowhere")
    assert done.code == 5 and "nowhere" in done.err
