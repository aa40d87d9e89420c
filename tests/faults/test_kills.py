"""SIGKILL and SIGTERM at random instants of a whole run, and the same command until it finishes.

A round is one run that is killed about a dozen times. Where it is killed follows from the seed and
from the files that the run changes, not from the clock: to repeat a failure, set the variables
that its message names. `make crash` runs more rounds and writes a table.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import crash_table
import pytest
from commands import RUN, Ended, Warm, kill_plan
from end_state import differences, end_state, half_finished, snapshot
from killer import CHECKPOINT, PUBLISH, RENAME, SWEEP
from project import Project

from tmkd_deploy.artifacts import read_manifest

KILLS = int(os.environ.get("CRASH_KILLS", "13"))
SEED = int(os.environ.get("CRASH_SEED", "1"))
ROUND = 20
TRAINING = ("train_teacher", "score_views", "distill", "quantize")
STAGES = (
    SWEEP,
    "prepare",
    *TRAINING,
    *("export/student-int8-unsigned-fp32", "export/student-fp32", "build/cpu"),
    *("export/teacher-fp32", "measure/cpu", "gate/cpu", "bundle/cpu", "report"),
    PUBLISH,
)


@dataclass(frozen=True)
class Kill:
    """When a run is killed, and by what: before the `number`-th change of a file of `stage`, of
    one kind or of any, or `wait` times the duration of the undisturbed stage after that; or before,
    at the removal number `sweep` of what the last kill left behind."""

    stage: str
    operation: str | None
    number: int
    wait: float
    signal: signal.Signals
    sweep: int

    @property
    def may_come_late(self) -> bool:
        """Whether the run may be over, or past its last interruptible step, when it comes."""
        return self.wait > 0 or (self.signal == signal.SIGTERM and self.stage == PUBLISH)

    def plan(self, project: Project, seconds: Mapping[str, float]) -> dict[str, Any]:
        return kill_plan(
            project,
            self.stage,
            self.signal,
            stages=STAGES,
            operation=self.operation,
            number=self.number,
            delay=self.wait * seconds.get(self.stage, 0),
            sweep=self.sweep,
        )


def drawn(rng: random.Random, count: int) -> list[Kill]:
    """Kills in the order in which a run reaches them, evenly over its stages."""
    order = STAGES[1:]
    places = sorted(int((each + rng.random()) * len(order) / count) for each in range(count))
    return [one_kill(rng, order[place]) for place in places]


def one_kill(rng: random.Random, stage: str) -> Kill:
    number = rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
    sweep = rng.choice((0, 0, 0, 1, 2))
    kind = rng.choice(("any", "rename", "within"))
    if kind == "rename":  # the old artifact aside, or the new one into place
        return Kill(stage, RENAME, rng.randint(1, 2), 0.0, number, sweep)
    if kind == "within" and stage in TRAINING:
        return Kill(stage, CHECKPOINT, rng.randint(1, 12), 0.0, number, sweep)
    if kind == "within":
        return Kill(stage, None, 1, rng.random(), number, sweep)
    return Kill(stage, None, rng.randint(1, 12), 0.0, number, sweep)


@dataclass
class Round:
    """One run folder and its surroundings, killed again and again."""

    warm: Warm
    project: Project
    around: Path
    seconds: Mapping[str, float]
    told: list[str] = field(default_factory=list)
    rows: list[crash_table.Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("home", "tmp"):
            (self.around / name).mkdir(parents=True)
        (self.around / "home" / "mine.txt").write_text("mine")
        self.environment = {
            "HOME": str(self.around / "home"),
            "TMPDIR": str(self.around / "tmp"),
            # ONNX Runtime 1.32 would leave an identifier in both
            "ORT_DISABLE_TELEMETRY": "1",
        }

    def kill(self, kill: Kill) -> None:
        """Start the command, kill it, and look at what is left."""
        plan = kill.plan(self.project, self.seconds)
        ended = self.warm.run(self.project, *RUN, kill=plan, environment=self.environment)
        self.told.append(f"{kill} at {ended.event}: {ended.code}")
        self.check(ended.event is not None, ended)
        stage = str(ended.event).split("\t")[0]
        self.rows.append(crash_table.Row(stage, kill.signal.name, ended.code))
        killed = -ended.code == kill.signal == signal.SIGKILL
        interrupted = kill.signal == signal.SIGTERM and ended.code == 130
        finished = ended.code == 0 and kill.may_come_late
        self.check(killed or interrupted or finished, ended)
        self.check(ended.orphans == [], ended)
        self.check("Traceback" not in ended.err and "Exception ignored" not in ended.err, ended)
        self.check(half_finished(self.project) == [], ended)
        if interrupted:
            self.check(self.project.drafts() == [], ended)
        self.check(self.left_outside() == [], ended)

    def left_outside(self) -> list[str]:
        """What is new around the project, except for what libraries cache."""
        temporary = (self.around / "tmp").rglob("*")
        left = [path for path in temporary if not path.name.startswith("torchinductor_")]
        cached = {"mine.txt", ".cache", ".config"}
        left += [path for path in (self.around / "home").iterdir() if path.name not in cached]
        return sorted(map(str, left))

    def check(self, good: bool, ended: Ended) -> None:
        assert good, "\n".join([*self.told, ended.told, *ended.orphans, *self.left_outside()])


def make_stale(folder: Path) -> None:
    """Give the artifacts below `folder` another fingerprint, so that they are made again."""
    for path in folder.rglob("manifest.json"):
        stale = read_manifest(path.parent).model_copy(update={"fingerprint": "0" * 64})
        sealed = stale.model_copy(update={"seal": stale.expected_seal()})
        path.write_text(sealed.model_dump_json(indent=1) + "\n")


@pytest.mark.parametrize("number", range(-(-KILLS // ROUND)))
def test_a_run_killed_again_and_again(
    undisturbed: Project, images: Path, warm: Warm, tmp_path: Path, number: int
) -> None:
    """Rounds of even seeds start with an empty run folder, the others replace old artifacts."""
    seed = SEED + number
    rng = random.Random(seed)
    project = undisturbed.copy_to(tmp_path / "project")
    if seed % 2 == 0:
        shutil.rmtree(project.run_folder)
    else:
        make_stale(project.run_folder)
    count = min(ROUND, KILLS - number * ROUND)
    seconds = {name: undisturbed.manifest(name)["seconds"] for name in STAGES[1:-1]}
    this = Round(warm, project, tmp_path / "around", seconds)
    this.told.append(f"To repeat: CRASH_SEED={seed} CRASH_KILLS={count}")
    print(this.told[0])
    before = snapshot([images, this.around / "home" / "mine.txt", project.recipe])
    with crash_table.collected(seed, this.rows) as outcome:
        move = rng.randrange(count)
        for index, kill in enumerate(drawn(rng, count)):
            this.kill(kill)
            if index == move:
                this.project = Project(project.folder.rename(tmp_path / "moved"))
        assert len(this.rows) == count, "\n".join(this.told)  # or a round proves nothing
        done = this.project.run(*RUN, environment=this.environment)  # a Python of its own
        told = "\n".join([*this.told, done.told])
        assert done.code == 0, told
        outcome.different = differences(end_state(this.project), end_state(undisturbed))
        assert outcome.different == [], told
        assert this.project.drafts() == [], told
        assert list((this.project.run_folder / "checkpoints").glob("*")) == [], told
        assert this.left_outside() == [], told
        after = snapshot([images, this.around / "home" / "mine.txt", this.project.recipe])
        assert list(after.values()) == list(before.values()), told
        outcome.equal = True


def test_an_interrupted_clean_up_is_finished(
    undisturbed: Project, warm: Warm, tmp_path: Path
) -> None:
    """The new artifact is in place and the old one is being removed when SIGTERM comes."""
    project = undisturbed.copy_to(tmp_path / "project")
    make_stale(project.run_folder / "gate")
    this = Round(warm, project, tmp_path / "around", {})
    this.kill(Kill("gate/cpu", "os.rmdir", 1, 0.0, signal.SIGTERM, sweep=0))
    assert this.rows == [crash_table.Row("gate/cpu", "SIGTERM", 130)]
    assert read_manifest(project.run_folder / "gate" / "cpu").fingerprint != "0" * 64
