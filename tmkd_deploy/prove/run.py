"""Walk all claims on one device within the time limit, and keep what was shown so far on disk."""

from __future__ import annotations

import datetime
import importlib
import secrets
import time
from collections.abc import Mapping
from pathlib import Path

from tmkd_deploy import __version__
from tmkd_deploy.devices.address import Address
from tmkd_deploy.devices.device import Device, TimeIsUp
from tmkd_deploy.devices.routes import DeviceUnreachable
from tmkd_deploy.errors import BusyError, MissingExtra, TmkdError
from tmkd_deploy.events import Events
from tmkd_deploy.printable import printable
from tmkd_deploy.prove import markdown, origin, registry
from tmkd_deploy.prove.outcome import Contradicted, Evidence, NotRun, Outcome
from tmkd_deploy.prove.proof import SCHEMA_VERSION, ClaimProof, Proof, State, write
from tmkd_deploy.prove.registry import Check
from tmkd_deploy.prove.workbench import Workbench, scratch
from tmkd_deploy.report.formatting import duration

LIMIT_SECONDS = 30 * 60.0
# for the last look at the device
_RESERVED_SECONDS = 45.0
_LONGEST_REASON = 1000
_NEEDED_HERE = ("onnx", "onnxruntime")
_INTERRUPTED = "This proof was interrupted before."
_LOST = "The device was lost before."


def prove(
    address: Address,
    into: Path,
    events: Events,
    command: str,
    *,
    limit: float = LIMIT_SECONDS,
    checks: Mapping[str, Check] = registry.CHECKS,
) -> tuple[Proof, Path]:
    """Prove what a device shows, and write it after each claim; returns it, and its path.

    No setting of the device is changed.

    Args:
        address: of the device.
        into: the folder of the file pair.
        events: receives progress.
        command: what was typed, for the proof.
        limit: seconds on the device.
        checks: of the claims.

    Raises:
        ImportError: a package that makes the classifier is not installed here.
        KeyboardInterrupt, TmkdError: the proof was interrupted, or the device cannot be reached, is
            busy or was lost; what was shown before is in the file, which says that it is
            incomplete.
    """
    for name in _NEEDED_HERE:
        importlib.import_module(name)
    end = time.monotonic() + limit
    with Device(address, events) as device, scratch() as folder:
        device.lock()
        device.request("clean")
        device.stop_at(end - _RESERVED_SECONDS if limit > 2 * _RESERVED_SECONDS else end)
        bench = Workbench(device, Path(folder), secrets.token_hex(8))
        walk = _Walk(bench, into, events, command, end, checks)
        walk.run(str(address))
        device.stop_at(end)
        return walk.finish()


class _Walk:
    """One walk through the checks."""

    def __init__(
        self,
        bench: Workbench,
        into: Path,
        events: Events,
        command: str,
        end: float,
        checks: Mapping[str, Check],
    ) -> None:
        self._bench, self._into, self._events, self._command = bench, into, events, command
        self._end, self._checks = end, checks
        self._started = time.monotonic()
        self._found: dict[str, ClaimProof] = {}
        self._board, self._before = origin.board(bench), origin.state(bench.info)
        self._date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        self._commit = origin.commit()

    def run(self, where: str) -> None:
        """Run every check; errors as `prove`."""
        task = self._events.begin(f"Proving claims on {where}", len(self._checks), "claims")
        try:
            for name, check in self._checks.items():
                self._one(name, check)
                self._write(complete=False, after=None, rest=_INTERRUPTED)
                self._say(name)
                task.advance()
        except KeyboardInterrupt:
            self._give_up(_INTERRUPTED)
            raise
        except TmkdError:
            self._give_up(_LOST)
            raise
        finally:
            task.finish()

    def _give_up(self, why: str) -> None:
        _, path = self._write(complete=False, after=None, rest=why)
        self._events.warn(f"The proof is incomplete: {path}")

    def finish(self) -> tuple[Proof, Path]:
        """Compare the device with what it was, and write the complete proof."""
        try:
            after = origin.state(self._bench.device.request("probe"))
        except TmkdError as error:
            self._events.warn(f"The device could not be asked at the end: {error.problem}")
            return self._write(complete=False, after=None, rest="")
        return self._write(complete=True, after=after, rest="")

    def _one(self, name: str, check: Check) -> None:
        evidence, begun = Evidence(), time.monotonic()
        left = self._end - begun
        outcome: Outcome = "not run"
        reason = _INTERRUPTED
        try:
            if left < check.seconds:
                raise NotRun(
                    f"{duration(max(left, 0))} of the time were left, and this may take "
                    f"{duration(check.seconds)}."
                )
            check.run(self._bench, evidence)
            outcome, reason = "shown", ""
        except NotRun as ended:
            reason = str(ended)
        except TimeIsUp:
            reason = "The time was up before this was shown."
        except Contradicted as ended:
            outcome, reason = "contradicted", str(ended)
        except (DeviceUnreachable, BusyError) as error:
            reason = f"The device was lost: {error.problem}"
            raise
        except MissingExtra as error:
            reason = f"{error.problem} {error.advice}"
        except TmkdError as error:
            outcome, reason = "contradicted", f"It ended with an error: {error}"
        finally:
            self._found[name] = self._proof_of(
                name, outcome, reason, evidence, time.monotonic() - begun
            )

    def _proof_of(
        self, name: str, outcome: Outcome, reason: str, evidence: Evidence, seconds: float
    ) -> ClaimProof:
        claim = registry.claims()[name]
        return ClaimProof(
            id=name,
            claim=claim.claim,
            shown_by=claim.shown_by,
            outcome=outcome,
            reason=printable(reason, _LONGEST_REASON),
            figures=evidence.figures,
            lines=evidence.lines,
            seconds=round(seconds, 1),
        )

    def _write(self, *, complete: bool, after: State | None, rest: str) -> tuple[Proof, Path]:
        """Write what was found; `rest` is why the remaining claims were not run."""
        missing = {
            name: self._proof_of(name, "not run", rest, Evidence(), 0.0)
            for name in self._checks
            if name not in self._found
        }
        root = {
            check.with_root: None
            for name, check in self._checks.items()
            if self._bench.is_jetson
            and check.with_root
            and (missing | self._found)[name].outcome == "not run"
        }
        proof = Proof(
            schema_version=SCHEMA_VERSION,
            board=self._board,
            package_version=__version__,
            commit=self._commit,
            agent_sha256=origin.agent_sha256(),
            date=self._date,
            command=self._command,
            complete=complete,
            seconds=round(time.monotonic() - self._started, 1),
            before=self._before,
            after=after,
            claims=list({**self._found, **missing}.values()),
            with_root=[each for each in root if each is not None],
        ).sealed()
        return proof, write(proof, self._into, markdown.page(proof))

    def _say(self, name: str) -> None:
        found, total = self._found[name], len(self._checks)
        ahead = sum(
            check.seconds for other, check in self._checks.items() if other not in self._found
        )
        left = max(0.0, min(self._end - time.monotonic(), ahead))
        self._events.say(
            f"Claim {len(self._found)} of {total}, {name}: {found.outcome}. "
            f"{found.reason + ' ' if found.reason else ''}At most {duration(left)} left."
        )
