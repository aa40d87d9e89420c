"""Map every exception to a message, an advice and an exit code."""

from __future__ import annotations

from dataclasses import dataclass

import typer

from tmkd_deploy.cli.extras import PROVIDERS
from tmkd_deploy.errors import (
    EnvironmentProblem,
    ExitCode,
    MissingExtra,
    TmkdError,
    from_os_error,
)

# Depending on its version, Typer bundles click or imports it; in both cases the base of
# BadParameter is the right UsageError.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


@dataclass(frozen=True)
class Failure:
    """The message for the user; `unexpected` marks a bug of this package."""

    problem: str
    where: str | None
    advice: str
    exit_code: ExitCode
    unexpected: bool = False

    def to_json(self) -> dict[str, str | None]:
        """Problem, place and advice."""
        return {"problem": self.problem, "where": self.where, "advice": self.advice}

    def as_text(self) -> str:
        """The same, one per line."""
        interrupted = self.exit_code == ExitCode.INTERRUPTED
        lines = [self.problem if interrupted else f"Error: {self.problem}"]
        if self.where:
            lines.append(f"  Where: {self.where}")
        if self.advice:
            lines.append(f"  {self.advice}")
        return "\n".join(lines)


def explain(error: BaseException) -> Failure:
    """The failure that `error` amounts to."""
    if isinstance(error, TmkdError):
        return _of(error)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return Failure(
            "Interrupted; finished stages and training checkpoints are kept.",
            None,
            "",
            ExitCode.INTERRUPTED,
        )
    if isinstance(error, USAGE_ERROR):
        return _usage(error)
    if environment := _environment(error):
        return _of(environment)
    return Failure(
        f"Unexpected error: {type(error).__name__}: {error}",
        None,
        "This is a bug; please report it with the traceback, which TMKD_DEBUG=1 prints.",
        ExitCode.ENVIRONMENT,
        unexpected=True,
    )


def _of(error: TmkdError) -> Failure:
    return Failure(error.problem, error.where, error.advice, error.exit_code)


def _usage(error: Exception) -> Failure:
    possibilities = getattr(error, "possibilities", None)
    message = error.message if possibilities else error.format_message()  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    advice = f"Help: {context.command_path} --help" if context else ""
    if possibilities:
        advice = f"Did you mean {' or '.join(sorted(possibilities))}? {advice}"
    return Failure(f"{message.rstrip('.')}.", None, advice, ExitCode.REQUEST)


def _environment(error: BaseException) -> EnvironmentProblem | None:
    if isinstance(error, OSError):
        return from_os_error(error)
    if isinstance(error, MemoryError):
        return EnvironmentProblem(
            "This machine is out of memory.",
            advice="Lower batch_size in the recipe, or close other programs.",
        )
    if isinstance(error, ImportError):
        return _missing_extra(error)
    return None


def _missing_extra(error: ImportError) -> MissingExtra | None:
    provider = PROVIDERS.get((error.name or "").partition(".")[0])
    if provider is None:
        return None
    distribution, extra = provider
    return MissingExtra("This command", extra, distribution)
