"""The errors of opening and running engines; whoever opens one translates them into its own."""

from __future__ import annotations


class EngineError(Exception):
    """An engine fails.

    Attributes:
        problem: what is wrong, as a sentence, with the runtime's own message.
        advice: what to do about it, as a sentence; may be empty.
    """

    def __init__(self, problem: str, advice: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice


class RuntimeUnusableError(EngineError):
    """A runtime is installed but cannot start here, as without a driver or a GPU."""


class RejectedEngineError(EngineError):
    """The runtime works but does not open this engine, as one of another release or GPU."""


class NoClassifierError(RejectedEngineError):
    """The engine opens but is no classifier of images in raw pixels."""

    def __init__(self, found: str) -> None:
        super().__init__(
            "The engine must take images, uint8 [N, H, W, 3] with N free or 1, and return logits "
            f"[N, C]; it has {found}.",
            "Export the student again.",
        )


class EngineMemoryError(EngineError):
    """The engine does not fit into the memory of this machine or its GPU."""
