"""Decoding blocks of images in worker processes.

Each worker has its own pipe and one block at a time, and names each image before it starts on it. A
crash or a standstill can therefore be attributed to an image, and workers exit when this process is
killed, because their pipe closes; the pool of `concurrent.futures` offers neither. Workers are
spawned, not forked: they do not import torch and share no locks with the threads of this process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from tmkd_deploy.child_process import end_with_parent
from tmkd_deploy.data.block import Block, Outcome, decode_block
from tmkd_deploy.errors import DataError, EnvironmentProblem, TmkdError

# Reading and decoding the worst image takes seconds; a slow disk or a busy machine, some more.
SECONDS_PER_IMAGE = 300.0
_POLL_SECONDS = 1.0
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
_Failure = tuple[str, str, str | None]


def decode_in_workers(
    blocks: Sequence[Block], processes: int, file: Path, origin: str
) -> Iterator[tuple[Block, list[Outcome]]]:
    """Decode `blocks` into the rows of the .npy file `file`; yield each when done, in any order.

    `origin` is the human-readable name of the source. The workers are stopped however the iteration
    ends.

    Raises:
        DataError: the source itself cannot be read, or an image crashes or stalls the decoder.
        EnvironmentProblem: a worker was killed.
    """
    workers: list[_Worker] = []
    try:
        with _blocked_interrupts():
            for _ in range(min(processes, len(blocks))):
                workers.append(_Worker(file, origin))
        pending = iter(blocks)
        busy: dict[Any, _Worker] = {}  # by connection
        for worker, block in zip(workers, pending, strict=False):
            worker.send(block)
            busy[worker.connection] = worker
        polled = time.monotonic()
        while busy:
            ready = wait(list(busy), _POLL_SECONDS)
            # a longer gap means that all processes were stopped, or the machine was asleep
            waited = min(time.monotonic() - polled, _POLL_SECONDS)
            polled = time.monotonic()
            for connection, worker in busy.items():
                if connection not in ready:
                    worker.wait(waited)
            for connection in ready:
                worker = busy[connection]
                outcomes = worker.receive()
                if outcomes is None:
                    continue
                del busy[connection]
                result = worker.block, outcomes
                next_block = next(pending, None)
                if next_block is not None:
                    worker.send(next_block)
                    busy[worker.connection] = worker
                yield result
    finally:
        with _blocked_interrupts():
            for worker in workers:
                worker.stop()


class _Worker:
    """A worker process, the block it is decoding, and the image in that block."""

    block: Block
    _position: int
    _silent: float  # seconds since it started on that image

    def __init__(self, file: Path, origin: str) -> None:
        self._origin = origin
        context = multiprocessing.get_context("spawn")
        self.connection, remote = context.Pipe()
        self._process = context.Process(target=_work, args=(remote, file), daemon=True)
        self._process.start()
        remote.close()

    def send(self, block: Block) -> None:
        self.block, self._position, self._silent = block, 0, 0.0
        with contextlib.suppress(BrokenPipeError):  # `receive` reports it
            self.connection.send(block)

    def wait(self, seconds: float) -> None:
        self._silent += seconds
        if self._silent > SECONDS_PER_IMAGE:
            raise DataError(
                f"Reading {self.block.described(self._position)} takes more than "
                f"{SECONDS_PER_IMAGE:.0f} seconds.",
                where=self._origin,
                advice="Remove or re-encode this image, or check the disk that it is on.",
            )

    def receive(self) -> list[Outcome] | None:
        """The outcomes of the block, or None if the worker has only started on another image."""
        try:
            reply: list[Outcome] | _Failure | int = self.connection.recv()
        except (EOFError, ConnectionResetError) as error:
            self._process.join()
            raise self._crash() from error
        if isinstance(reply, int):
            self._position, self._silent = reply, 0.0
            return None
        if isinstance(reply, tuple):
            problem, advice, where = reply
            raise DataError(problem, advice=advice, where=where)
        return reply

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()

    def _crash(self) -> TmkdError:
        code = self._process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        image = self.block.described(self._position)
        problem = f"A worker process {how} while decoding {image}."
        if -code in _CRASHES:
            return DataError(
                problem,
                where=self._origin,
                advice="This image crashes the decoder: remove or re-encode it.",
            )
        return EnvironmentProblem(
            problem,
            where=self._origin,
            advice="The system kills processes when memory runs out: free some memory or lower "
            "'data.workers', then run again.",
        )


def _work(connection: Connection, file: Path) -> None:
    """The worker's loop: decode blocks until the pipe is closed, or the parent is gone."""
    end_with_parent()  # even while it reads from a disk that no longer answers
    rows = np.load(file, mmap_mode="r+", allow_pickle=False)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            block = connection.recv()
            try:
                connection.send(decode_block(block, rows, started=connection.send))
            except TmkdError as error:
                connection.send((error.problem, error.advice, error.where))


@contextlib.contextmanager
def _blocked_interrupts() -> Iterator[None]:
    """Block SIGINT and SIGTERM here until the end, and for good in processes started meanwhile.

    A terminal sends Ctrl-C to the whole process group, but only this process should handle it.
    """
    resource_tracker.ensure_running()  # starting it later would unblock the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
