"""Blocks of images decoded in processes of their own.

Each process has one pipe and one block at a time. So a process that dies names the block it died
on, and when this process is killed, the others meet the end of their pipe and end too; the pool of
`concurrent.futures` can do neither. They are spawned, not forked: they import no torch, and share
no lock with the threads of this process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from tmkd_deploy.data.block import Block, Outcome, decode_block
from tmkd_deploy.errors import DataError, EnvironmentProblem, TmkdError

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
_Refusal = tuple[str, str, str | None]


def decode_in_workers(
    blocks: Sequence[Block], processes: int, file: Path, origin: str
) -> Iterator[tuple[Block, list[Outcome]]]:
    """Each of `blocks` when it is decoded into the rows of the .npy file `file`, in any order.

    `origin` names the source for people. However the iteration ends, the processes end with it.

    Raises:
        DataError: the source itself cannot be read, or an image crashes the decoder.
        EnvironmentProblem: a process was killed.
    """
    workers: list[_Worker] = []
    try:
        with _held_interrupts():
            for _ in range(min(processes, len(blocks))):
                workers.append(_Worker(file, origin))
        waiting = iter(blocks)
        busy: dict[Any, _Worker] = {}  # by connection
        for worker, block in zip(workers, waiting, strict=False):
            worker.give(block)
            busy[worker.connection] = worker
        while busy:
            for connection in wait(list(busy)):
                worker = busy.pop(connection)
                done = worker.block, worker.take()
                following = next(waiting, None)
                if following is not None:
                    worker.give(following)
                    busy[worker.connection] = worker
                yield done
    finally:
        with _held_interrupts():
            for worker in workers:
                worker.end()


class _Worker:
    """A process that decodes, and the block it is at."""

    block: Block

    def __init__(self, file: Path, origin: str) -> None:
        self._origin = origin
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, file), daemon=True)
        self._process.start()
        theirs.close()

    def give(self, block: Block) -> None:
        self.block = block
        with contextlib.suppress(BrokenPipeError):  # `take` tells of it
            self.connection.send(block)

    def take(self) -> list[Outcome]:
        try:
            answer: list[Outcome] | _Refusal = self.connection.recv()
        except (EOFError, ConnectionResetError) as error:
            self._process.join()
            raise self._died() from error
        if isinstance(answer, tuple):
            problem, advice, where = answer
            raise DataError(problem, advice=advice, where=where)
        return answer

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()

    def _died(self) -> TmkdError:
        code = self._process.exitcode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        problem = f"A process {how} while it decoded {self.block}."
        if -code in _CRASHES:
            return DataError(
                problem,
                where=self._origin,
                advice="One of these images crashes the decoder: remove it, or save it anew.",
            )
        return EnvironmentProblem(
            problem,
            where=self._origin,
            advice="Systems kill processes when memory runs out: free some, or lower "
            "'data.workers', then run again.",
        )


def _work(connection: Connection, file: Path) -> None:
    """What a process does: answer blocks with outcomes until the other side is gone."""
    rows = np.load(file, mmap_mode="r+", allow_pickle=False)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            block = connection.recv()
            try:
                connection.send(decode_block(block, rows))
            except TmkdError as error:
                connection.send((error.problem, error.advice, error.where))


@contextlib.contextmanager
def _held_interrupts() -> Iterator[None]:
    """Processes started meanwhile never see Ctrl-C and SIGTERM; this one sees them afterwards.

    A terminal sends Ctrl-C to all of them, and only this one may decide what becomes of it.
    """
    resource_tracker.ensure_running()  # its own start would let the signals through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
