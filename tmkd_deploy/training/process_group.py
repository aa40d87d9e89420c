"""The processes of one run: usually one; several where torchrun, or Slurm's srun, started them.

The main process alone owns the run folder: its lock, its artifacts, its messages. All take part in
the stages that train, and the others wait meanwhile.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tmkd_deploy.errors import EnvironmentProblem, ExitCode, PeerProcessFailed
from tmkd_deploy.training.slurm import adopt_srun

if TYPE_CHECKING:
    from tmkd_deploy.training.distributed import Store

# what gloo and NCCL say when the process at the other end is gone
_PEER_IS_GONE = (
    "connection closed",
    "connection reset",
    "broken pipe",
    "remote process exited",
    "socket",
)
_FAILURES = "tmkd-deploy/failures"


class SingleProcess:
    """The only process of a run."""

    is_main_process = True
    size = 1

    def broadcast(self, question: Callable[[], bool]) -> bool:
        """The main process's answer to `question`, in every process."""
        return question()

    def barrier(self) -> None:
        """Wait until every process has come this far."""
        self.broadcast(lambda: True)


class ProcessGroup(SingleProcess):
    """One process of several, by torch.distributed."""

    def __init__(self, rank: int, size: int) -> None:
        self.is_main_process = rank == 0
        self.size = size

    def broadcast(self, question: Callable[[], bool]) -> bool:
        """The main process's answer to `question`; the others wait for it."""
        from tmkd_deploy.training import distributed

        return distributed.answer_of_first(question() if self.is_main_process else None)


@contextlib.contextmanager
def process_group() -> Iterator[SingleProcess]:
    """Join the other processes of the run, if there are any.

    Raises:
        PeerProcessFailed: another process failed first and reports why.
        EnvironmentProblem: the processes cannot be reached.
    """
    adopt_srun()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield SingleProcess()
        return
    from tmkd_deploy.training import distributed

    with distributed.join_process_group() as store:
        try:
            yield ProcessGroup(distributed.rank(), distributed.world_size())
        except BaseException as error:
            raise _reported_once(error, store) from error


def _reported_once(error: BaseException, store: Store) -> BaseException:
    """`error` in the first process that fails; the others stay silent."""
    try:
        first = store.add(_FAILURES, 1) == 1
    except RuntimeError:  # the process that kept the store has exited
        first = False
    if not first:
        interrupted = isinstance(error, KeyboardInterrupt)
        return PeerProcessFailed(ExitCode.INTERRUPTED if interrupted else ExitCode.ENVIRONMENT)
    if isinstance(error, RuntimeError) and any(w in str(error).lower() for w in _PEER_IS_GONE):
        return EnvironmentProblem(
            "A peer process exited unexpectedly.",
            advice="Check the launcher's output; the system may have killed it for lack of memory. "
            "The same command resumes from the last checkpoint.",
        )
    return error
