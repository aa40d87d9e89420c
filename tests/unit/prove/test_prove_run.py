"""The walk through the claims: its time limit, its ends, and the file that it keeps."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_board import FakeBoard
from recorded_events import RecordedEvents

from tmkd_deploy.cli.main import main
from tmkd_deploy.devices.address import LocalAddress
from tmkd_deploy.devices.device import TimeIsUp
from tmkd_deploy.devices.routes import DeviceUnreachable
from tmkd_deploy.errors import ArtifactError, MissingExtra
from tmkd_deploy.prove import markdown, proof, run
from tmkd_deploy.prove.outcome import Contradicted, Evidence, NotRun
from tmkd_deploy.prove.registry import CHECKS, Check
from tmkd_deploy.prove.workbench import Workbench

EVENTS = RecordedEvents()


def shows(bench: Workbench, evidence: Evidence) -> None:
    evidence.add(figure=1.23456789, text="a|b\x1b[31m")
    evidence.quote(["\x1b[2Ja line", "x" * 5000])


def ends_with(error: BaseException) -> Callable[[Workbench, Evidence], None]:
    def check(bench: Workbench, evidence: Evidence) -> None:
        evidence.add(before=1)
        raise error

    return check


@pytest.fixture
def walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., proof.Proof]:
    """Walk through the given checks, which take the names of the first claims."""

    def walked(*checks: Any, limit: float = 1800.0, events: Any = EVENTS) -> proof.Proof:
        (tmp_path / "device").mkdir(exist_ok=True)
        monkeypatch.setattr(run, "Device", FakeBoard(tmp_path / "device"))
        named = {
            name: each if isinstance(each, Check) else Check(each, 1)
            for name, each in zip(CHECKS, checks, strict=False)
        }
        into = tmp_path / "proofs"
        return run.prove(LocalAddress(), into, events, "a b", limit=limit, checks=named)[0]

    return walked


def kept(tmp_path: Path) -> proof.Proof:
    return proof.read(tmp_path / "proofs" / "jetson-orin-nx-6.2.json")


def test_outcomes_are_recorded_in_a_sealed_file(walk, tmp_path) -> None:
    made = walk(
        shows,
        ends_with(NotRun("not here")),
        ends_with(Contradicted("it is not so")),
        ends_with(MissingExtra("This", "train", "onnx")),
        ends_with(ArtifactError("Broken.", advice="Mend it.")),
    )
    assert kept(tmp_path) == made
    first, second, third, fourth, fifth = made.claims
    assert first.figures == {"figure": 1.23457, "text": "a|b\\x1b[31m"}
    assert len(first.lines[1]) <= 301 and "\x1b" not in str(made)
    assert (second.outcome, second.reason) == ("not run", "not here")
    assert (third.outcome, third.reason, third.figures) == (
        "contradicted",
        "it is not so",
        {"before": 1},
    )
    assert fourth.outcome == "not run" and "tmkd-deploy[train]" in fourth.reason
    assert fifth.outcome == "contradicted" and "Broken." in fifth.reason
    assert made.complete and made.contradicted and made.command == "a b"
    page = (tmp_path / "proofs" / "jetson-orin-nx-6.2.md").read_text(encoding="utf-8")
    assert page == markdown.page(made)
    assert made.seal in page and "no signature" in page and "a\\|b" in page


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"contradicted"', '"shown"'),
        ('"complete": true', '"complete": false'),
        ('"command": "a b"', '"command": "a c"'),
        ('"before": 1', '"before": 2'),
    ],
)
def test_a_proof_that_was_tampered_with_is_refused(walk, tmp_path, old, new) -> None:
    walk(ends_with(Contradicted("no")))
    path = tmp_path / "proofs" / "jetson-orin-nx-6.2.json"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ArtifactError, match="altered"):
        proof.read(path)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"seal": NaN}'])
def test_a_file_that_is_no_proof_is_refused(tmp_path, content) -> None:
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError):
        proof.read(path)
    with pytest.raises(ArtifactError):
        proof.read(tmp_path / "missing.json")


def test_a_proof_of_another_schema_is_refused(walk, tmp_path) -> None:
    made = walk(shows).model_copy(update={"schema_version": 99}).sealed()
    path = proof.write(made, tmp_path, "")
    with pytest.raises(ArtifactError, match="schema version is 99"):
        proof.read(path)


def test_what_no_longer_fits_the_time_is_not_run(walk) -> None:
    made = walk(Check(shows, 5), Check(shows, 500), Check(shows, 5), limit=60.0)
    assert [each.outcome for each in made.claims] == ["shown", "not run", "shown"]
    assert "of the time were left, and this may take 8 min 20 s" in made.claims[1].reason
    assert made.complete and not made.contradicted


def test_a_check_that_outlasts_the_time_is_given_up(walk) -> None:
    up = TimeIsUp("The time for this device is up.", where="local", advice="Run again.")
    made = walk(ends_with(up), shows)
    assert made.claims[0].outcome == "not run" and "time was up" in made.claims[0].reason
    assert made.claims[0].figures == {"before": 1}


def test_every_request_has_an_end_before_the_limit(tmp_path, monkeypatch) -> None:
    (tmp_path / "device").mkdir()
    board = FakeBoard(tmp_path / "device")
    monkeypatch.setattr(run, "Device", board)
    begun = time.monotonic()
    checks = {"module": Check(shows, 1)}
    run.prove(LocalAddress(), tmp_path, EVENTS, "", limit=1800.0, checks=checks)
    first, last = board.ends
    assert first is not None and last is not None
    assert begun < first < last <= time.monotonic() + 1800


def test_ctrl_c_keeps_what_was_shown(walk, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        walk(shows, ends_with(KeyboardInterrupt()), shows)
    found = kept(tmp_path)
    assert not found.complete and found.after is None
    assert [each.outcome for each in found.claims] == ["shown", "not run", "not run"]
    assert all("interrupted" in each.reason for each in found.claims[1:])
    page = (tmp_path / "proofs" / "jetson-orin-nx-6.2.md").read_text(encoding="utf-8")
    assert "**Incomplete.**" in page


def test_a_kill_keeps_what_was_shown(walk, tmp_path) -> None:
    seen: list[proof.Proof] = []

    def look(bench: Workbench, evidence: Evidence) -> None:
        seen.append(kept(tmp_path))

    walk(shows, look)
    assert not seen[0].complete and seen[0].claims[0].outcome == "shown"


def test_a_device_that_is_lost_ends_the_proof(walk, tmp_path) -> None:
    lost = DeviceUnreachable("It is gone.", where="ssh://orin", advice="Look.")
    with pytest.raises(DeviceUnreachable):
        walk(shows, ends_with(lost), shows)
    found = kept(tmp_path)
    assert [each.outcome for each in found.claims] == ["shown", "not run", "not run"]
    assert "It is gone." in found.claims[1].reason and "lost" in found.claims[2].reason
    assert not found.complete and not found.contradicted


def test_what_is_missing_here_is_known_before_the_device_is_asked(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["doctor", "--prove", "--device", "ssh://nobody@nowhere.invalid"]) == 4
    assert "tmkd-deploy[train]" in capsys.readouterr().err


def test_progress_counts_claims_and_tells_the_time_left(walk) -> None:
    events = RecordedEvents()
    walk(shows, ends_with(NotRun("not here.")), events=events)
    assert ("begin", "Proving claims on local", 2, "claims") in events.told
    said = [message for kind, *rest in events.told if kind == "say" for message in rest]
    assert said[0].startswith("Claim 1 of 2, module: shown. At most")
    assert "Claim 2 of 2, releases: not run. not here. At most" in said[1]
    assert said[1].endswith("left.")


def test_evidence_is_bounded() -> None:
    evidence = Evidence()
    evidence.add(**{f"figure{number}": number for number in range(500)})
    evidence.add(many=list(range(500)), figure1=list(range(500)))
    evidence.quote("line" for _ in range(500))
    assert len(evidence.figures) == 40 and len(evidence.lines) == 24
    assert len(evidence.figures["figure1"]) == 40  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "machine", "profile", "emulated", "name"),
    [
        (None, "aarch64", "cpu-arm64", True, "emulated-aarch64"),
        ("Raspberry Pi 5 Model B Rev 1.0", "aarch64", "raspberry-pi-5", False, "raspberry-pi-5"),
        ("../../etc/pass wd", "aarch64", "cpu-arm64", False, "etc-pass-wd"),
        (None, "x86_64", "cpu-x86", False, "x86-64"),
        ("...", "x86_64", None, False, "unknown"),
    ],
)
def test_names_of_boards_are_names_of_files(model, machine, profile, emulated, name) -> None:
    assert proof.board_name(model, machine, profile, emulated) == name


def test_committed_proofs_are_sealed_complete_and_shown_as_they_are() -> None:
    folder = Path(__file__).parents[3] / "proofs"
    paths = sorted(folder.glob("*.json"))
    assert paths
    for path in paths:
        found = proof.read(path)
        assert found.complete, path
        assert path.name == f"{found.name}.json"
        assert path.with_suffix(".md").read_text(encoding="utf-8") == markdown.page(found)
