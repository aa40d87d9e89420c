"""Every failure ends in a few lines and a documented exit code, never in a traceback."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from tmkd_deploy.cli.failures import explain
from tmkd_deploy.errors import DataError, ExitCode, MissingExtra, RequestError


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (RequestError("No such thing.", advice="Ask anew."), ExitCode.REQUEST, "Ask anew."),
        (DataError("One class only.", advice="Add one."), ExitCode.DATA, "Add one."),
        (MissingExtra("Training", "train", "torch"), ExitCode.ENVIRONMENT, "tmkd-deploy[train]"),
        (ModuleNotFoundError("no", name="timm.layers"), ExitCode.ENVIRONMENT, "[train]"),
        (ModuleNotFoundError("no", name="onnxruntime"), ExitCode.ENVIRONMENT, "[onnxruntime]"),
        (ModuleNotFoundError("no", name="tensorrt_rtx"), ExitCode.ENVIRONMENT, "[tensorrt-rtx]"),
        (OSError(errno.ENOSPC, "No space left"), ExitCode.ENVIRONMENT, "Free some space"),
        (PermissionError(errno.EACCES, "Denied", "x"), ExitCode.ENVIRONMENT, "Where: x"),
        (MemoryError(), ExitCode.ENVIRONMENT, "batch_size"),
        (
            KeyboardInterrupt(),
            ExitCode.INTERRUPTED,
            "finished stages and training checkpoints are kept",
        ),
        (ZeroDivisionError("division by zero"), ExitCode.ENVIRONMENT, "TMKD_DEBUG=1"),
        (ModuleNotFoundError("no", name="unheard_of"), ExitCode.ENVIRONMENT, "TMKD_DEBUG=1"),
    ],
)
def test_every_exception_has_a_code_and_a_cure(error, code, words) -> None:
    failure = explain(error)
    assert failure.exit_code is code
    assert words in failure.as_text()


def test_only_a_fault_of_this_package_counts_as_unexpected() -> None:
    assert explain(ZeroDivisionError()).unexpected
    assert not explain(RequestError("No.", advice="Yes.")).unexpected


# The program, with a recipe that takes for ever to read; a recipe that is a pipe is refused.
READING = """
import sys
from tmkd_deploy.cli.main import main
from tmkd_deploy.recipe import load

pipe = sys.argv.pop()
load.load = lambda *_: open(pipe).read()
sys.exit(main())
"""


@pytest.mark.parametrize("interrupt", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_with_one_line(tmp_path, interrupt) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-c", READING, "distill", str(pipe)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    with pipe.open("w"):  # returns once the program has opened the other end
        process.send_signal(interrupt)
        printed, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (printed, told) == (
        "",
        "Interrupted; finished stages and training checkpoints are kept.\n",
    )


BUG = """
import sys
from tmkd_deploy.cli import main
main.app.command("bug")(lambda: 1 / 0)
sys.exit(main.main(["bug"]))
"""


@pytest.mark.parametrize("debug", [False, True])
def test_a_bug_shows_its_traceback_only_when_asked(debug) -> None:
    environment = {**os.environ, "TMKD_DEBUG": "1" if debug else ""}
    command = [sys.executable, "-c", BUG]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 4
    assert "ZeroDivisionError" in done.stderr and "report it" in done.stderr
    assert ("Traceback" in done.stderr) is debug


def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path) -> None:
    block = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from tmkd_deploy.cli import main\n"
        "main.app.command('need')(lambda: __import__('onnxruntime'))\n"
        "sys.exit(main.main(['need']))"
    )
    command = [sys.executable, "-c", block]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 4
    assert "pip install 'tmkd-deploy[onnxruntime]'" in done.stderr
