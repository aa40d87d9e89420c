"""Several devices at work at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence


def run_concurrently(jobs: Sequence[Callable[[], object]]) -> None:
    """Run every job to its end, all at the same time; then raise the first one's error, if any.

    An interruption does not wait for them: their threads end with the process, and with it the
    connections by which agents know that nobody listens any more.
    """
    errors: list[BaseException | None] = [None] * len(jobs)

    def run(number: int) -> None:
        try:
            jobs[number]()
        except BaseException as error:
            errors[number] = error

    threads = [
        threading.Thread(target=run, args=(number,), daemon=True) for number in range(len(jobs))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        if error is not None:
            raise error
