"""Whether a server answers, within a few seconds whatever it does."""

from __future__ import annotations

import threading
from collections.abc import Callable


def obstacle(ask: Callable[[], object], place: str, seconds: float) -> str | None:
    """Why `ask`, which should return soon, gets no answer from `place`; None if it does.

    Looking up a name has no time limit of its own, so it happens where it can be abandoned.
    """
    found = [f"{place} does not answer"]

    def run() -> None:
        try:
            ask()
        except Exception as error:  # clients have dozens, of several libraries
            found.append(f"{place}: {str(error) or type(error).__name__}")
        else:
            found.clear()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[-1].splitlines()[0] if found else None
