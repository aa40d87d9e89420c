"""The processes of one run: usually one; several where torchrun or accelerate started them.

The first alone keeps the run folder: its lock, its artifacts, its news. All take part in the stages
that train, and the others wait meanwhile.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tmkd_deploy.errors import EnvironmentProblem, ExitCode, PeerProcessFailed

if TYPE_CHECKING:
    from tmkd_deploy.training.processes import Store

# what gloo and NCCL say when the process at the other end is gone
_GONE = ("connection closed", "connection reset", "broken pipe", "remote process exited", "socket")
_TOLD = "tmkd-deploy/told"


class Alone:
    """The one process of a run, which decides everything and waits for nobody."""

    leads = True
    size = 1

    def decided(self, question: Callable[[], bool]) -> bool:
        """The answer to `question`."""
        return question()


class Together(Alone):
    """One process of several."""

    def __init__(self, rank: int, size: int) -> None:
        self.leads = rank == 0
        self.size = size

    def decided(self, question: Callable[[], bool]) -> bool:
        """The first process's answer to `question`; the others wait for it."""
        import torch  # noqa: PLC0415

        from tmkd_deploy.training import processes  # noqa: PLC0415

        answer = torch.tensor(int(question()) if self.leads else 0)
        processes.from_first([answer])
        return bool(answer)


@contextlib.contextmanager
def company() -> Iterator[Alone]:
    """Join the other processes, if there are any.

    Raises:
        ToldElsewhere: another process failed first and says why.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Alone()
        return
    from tmkd_deploy.training import processes  # noqa: PLC0415

    with processes.joined() as store:
        try:
            yield Together(processes.rank(), processes.world())
        except BaseException as error:
            raise _told_once(error, store) from error


def _told_once(error: BaseException, store: Store) -> BaseException:
    """`error` in the first process that fails; the others keep quiet."""
    try:
        first = store.add(_TOLD, 1) == 1
    except RuntimeError:  # it was kept by a process that has ended
        first = False
    if not first:
        interrupted = isinstance(error, KeyboardInterrupt)
        return PeerProcessFailed(ExitCode.INTERRUPTED if interrupted else ExitCode.ENVIRONMENT)
    if isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _GONE):
        return EnvironmentProblem(
            "Another of the processes that train together ended without a word.",
            advice="Look at what its launcher says; the system may have ended it to regain memory. "
            "The same command goes on from the last checkpoint.",
        )
    return error
