"""The errors of this package and the exit codes of the command line.

Every error says what is wrong, where, and what to do about it. The command line prints these three
and no traceback.
"""

from __future__ import annotations

import errno
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes, as documented in `docs/reference/exit-codes.md`."""

    OK = 0
    GATE_FAILED = 1
    REQUEST = 2
    INCONCLUSIVE = 3
    ENVIRONMENT = 4
    DATA = 5
    INTERRUPTED = 130


class TmkdError(Exception):
    """What is wrong (`problem`), where (`where`: file, line, key) and what to do (`advice`)."""

    exit_code = ExitCode.REQUEST

    def __init__(self, problem: str, *, advice: str, where: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice
        self.where = where

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.problem} {self.advice}"


class RequestError(TmkdError):
    """The request is wrong: a command-line argument, a recipe, an unknown name."""

    exit_code = ExitCode.REQUEST


class WeakTeacher(TmkdError):  # noqa: N818 - named like its fellows
    """The teacher is not worth learning from; what was trained is kept."""

    exit_code = ExitCode.GATE_FAILED


class EnvironmentProblem(TmkdError):  # noqa: N818 - EnvironmentError is a builtin
    """The machine is not able to: a missing runtime, a full disk, an unreachable device."""

    exit_code = ExitCode.ENVIRONMENT


class MissingExtra(EnvironmentProblem):
    """A command needs packages of an extra that is not installed."""

    def __init__(self, needed_for: str, extra: str, missing: str) -> None:
        super().__init__(
            f"{needed_for} needs the Python package {missing!r}, which is not installed.",
            advice=f"Install it with: pip install 'tmkd-deploy[{extra}]'",
        )


class PeerProcessFailed(EnvironmentProblem):
    """Another process of the same run failed first and reports why; this one exits silently."""

    def __init__(self, exit_code: ExitCode) -> None:
        super().__init__("Another process of this run failed.", advice="See its error message.")
        self.exit_code = exit_code


class BusyError(EnvironmentProblem):
    """Another process is using the same run folder."""


class DataError(TmkdError):
    """The data are wrong: images, labels, weights or an artifact that is not what it claims."""

    exit_code = ExitCode.DATA


class ArtifactError(DataError):
    """An artifact is truncated, tampered with or of another kind."""


def from_os_error(error: OSError) -> EnvironmentProblem:
    """The `EnvironmentProblem` that explains an operating-system error."""
    where = str(error.filename) if error.filename else None
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return EnvironmentProblem(
            "No space is left on this disk.",
            where=where,
            advice="Free some space or choose another folder with --runs, then run again; "
            "finished stages are kept.",
        )
    return EnvironmentProblem(
        f"The operating system reported an error: {error.strerror or error}.",
        where=where,
        advice="Check that the path exists and that you may read and write it.",
    )
