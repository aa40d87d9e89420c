"""Runs cases in a child process, so that a hang, a crash or a blow-up is a finding.

The parent holds a `Cage`; the child is this file as a program. The child has a home, a temporary
folder and a work folder of its own beside a canary folder that nothing may read or change.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import re
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from invariants import Violation, Watch, judge

MEMORY_BYTES = 1 << 30  # that one case of a few kilobytes may need at its peak
HEADROOM_BYTES = 3 << 30  # of address space, so that no case harms the machine
FILE_BYTES = 256 << 20

Holds = Callable[[str, Any], None]  # asserts that a case of the named target breaks no promise
START_SECONDS = 300.0


class Cage:
    """A child process for one target, started again after each case that it does not survive."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Cage:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def run(self, case: Any, seconds: float) -> list[Violation]:
        """What `case` breaks."""
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        content = pickle.dumps(case)
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(struct.pack("<Q", len(content)) + content)
            self._process.stdin.flush()
        answer = self._answer(seconds)
        if isinstance(answer, Violation):
            self.close()
            return [answer]
        found: list[Violation] = answer
        if any(each.kind == "memory" for each in found):
            self.close()  # what it took may not have been given back
        return found

    def _start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fuzz-cage-"))
        for name in ("home", "tmp", "work", "canary"):
            (self._folder / name).mkdir()
        (self._folder / "canary" / "secret").write_text("do not read this\n")
        environment = {
            **os.environ,
            "HOME": str(self._folder / "home"),
            "XDG_CACHE_HOME": str(self._folder / "home"),
            "TMPDIR": str(self._folder / "tmp"),
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "200",
            # test_regressions.py asks for this of the package; here it would blur every finding
            "ORT_DISABLE_TELEMETRY": "1",
        }
        environment.pop("TMKD_DEBUG", None)
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__, self._target, str(self._folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        ready = self._answer(START_SECONDS)
        if ready != "ready":
            log_text = self._log()
            self.close()
            raise RuntimeError(f"the target {self._target} does not start: {ready}\n{log_text}")

    def _answer(self, seconds: float) -> Any:
        assert self._process is not None and self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        if not ready:
            self._process.send_signal(signal.SIGABRT)  # faulthandler then writes where it is
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
            return Violation("hang", f"no end within {seconds:g} s", self._where())
        try:
            return read(self._process.stdout)
        except EOFError:
            code = self._process.wait()
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return Violation("crash", f"{how}: {self._log()[-400:]}", self._where())

    def _log(self) -> str:
        assert self._folder is not None
        return (self._folder / "log").read_text(errors="replace")[-20000:]

    def _where(self) -> str:
        """The product's innermost frame in faulthandler's log."""
        text = self._log()
        current = text.rpartition("(most recent call first)")[2]
        frame = re.search(r'tmkd_deploy/(\S+)", line (\d+) in (\w+)', current)
        return f"{frame[1]}:{frame[2]} {frame[3]}" if frame else ""

    def close(self) -> None:
        """End the child and remove its folders; `run` starts another."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):
                    stream.close()  # type: ignore[union-attr]
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def read(stream: BinaryIO) -> Any:
    """One message of either side."""
    head = _exactly(stream, 8)
    return pickle.loads(_exactly(stream, struct.unpack("<Q", head)[0]))


def _exactly(stream: BinaryIO, count: int) -> bytes:
    content = b""
    while len(content) < count:
        block = stream.read(count - len(content))
        if not block:
            raise EOFError
        content += block
    return content


def main(name: str, home: Path) -> None:
    """The child: serve cases until the parent is gone."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    from fuzzed.targets import TARGETS

    target = TARGETS[name]
    work, canary = home / "work", home / "canary"
    watch = Watch(home)
    os.chdir(work)
    for attempt in target.attempts(target.example(), work):  # imports what is imported late
        attempt()
    limit = _memory("VmSize") + HEADROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    untouched = _tree(canary), _tree(home / "home")

    def tell(message: Any) -> None:
        content = pickle.dumps(message)
        answers.write(struct.pack("<Q", len(content)) + content)
        answers.flush()

    tell("ready")
    while True:
        try:
            case = read(sys.stdin.buffer)
        except EOFError:
            return
        _empty(work)
        before, peak = _memory("VmRSS"), _memory("VmHWM")
        found = judge(target.attempts(case, work), target.documented, watch, target.processes)
        after = _memory("VmHWM")
        if after > peak and after - before > MEMORY_BYTES:
            found.append(Violation("memory", f"it took {(after - before) >> 20} MiB", ""))
        if (now := (_tree(canary), _tree(home / "home"))) != untouched:
            changed = {*now[0], *now[1]} ^ {*untouched[0], *untouched[1]}
            found.append(Violation("touched", str(sorted(changed))[:500]))
            untouched = now
        tell(found)


def _memory(name: str) -> int:
    with Path("/proc/self/status").open(encoding="ascii") as status:
        for line in status:
            if line.startswith(name):
                return int(line.split()[1]) << 10
    raise LookupError(name)


def _tree(folder: Path) -> list[tuple[str, int, int]]:
    found = []
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = f"{parent}{os.sep}{name}"
            state = os.lstat(path)
            found.append((path, state.st_size, state.st_mtime_ns))
    return sorted(found)


def _empty(folder: Path) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
