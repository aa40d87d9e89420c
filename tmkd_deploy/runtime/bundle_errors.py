"""The errors of the runtime API."""

from __future__ import annotations


class ArgumentError(ValueError):
    """An argument, other than an image, cannot be used; the message is a complete sentence."""


class BundleError(Exception):
    """A bundle cannot be used.

    Attributes:
        problem: what is wrong, as a sentence.
        advice: what to do about it, as a sentence.
        where: the bundle's path, if known.
    """

    def __init__(self, problem: str, *, advice: str, where: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice
        self.where = where

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.problem} {self.advice}"


class RuntimeMissingError(BundleError):
    """This machine cannot run the bundle's engine, although the bundle may be intact."""
