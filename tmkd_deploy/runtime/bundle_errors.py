"""What can go wrong with a bundle, said in the words of whoever deploys it."""

from __future__ import annotations


class BundleError(Exception):
    """The bundle cannot be used: what is wrong (`problem`), `where`, and what to do (`advice`)."""

    def __init__(self, problem: str, *, advice: str, where: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice
        self.where = where

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.problem} {self.advice}"


class RuntimeMissingError(BundleError):
    """The bundle may be sound, but this machine lacks what runs its engine."""
