"""One process at a time in a run folder, seen by real processes."""

import os
import re
import signal
import subprocess
import sys

import pytest

from tmkd_deploy.errors import BusyError, ExitCode
from tmkd_deploy.pipeline.run_lock import only_process_in

HOLD = """
import sys
from pathlib import Path
from tmkd_deploy.pipeline.run_lock import only_process_in
with only_process_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_told_who_holds_the_folder(holder, tmp_path):
    with pytest.raises(BusyError) as caught, only_process_in(tmp_path / "run"):
        pass
    error = caught.value
    assert re.search(rf"process {holder.pid}, which started at \d{{4}}-\d\d-\d\dT", error.problem)
    assert error.where == str(tmp_path / "run")
    assert error.exit_code is ExitCode.ENVIRONMENT


def test_another_folder_is_free(holder, tmp_path):
    with only_process_in(tmp_path / "other"):
        assert (tmp_path / "other").is_dir()


def test_the_folder_is_free_when_the_process_has_finished(holder, tmp_path):
    holder.communicate("go on\n", timeout=30)
    with only_process_in(tmp_path / "run"):
        owner = (tmp_path / "run" / ".lock").read_text()
    assert owner.startswith(f"process {os.getpid()},")


def test_the_folder_is_free_when_the_process_was_killed(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait(timeout=30)
    with only_process_in(tmp_path / "run"):
        pass


def test_an_error_lets_go_of_the_folder(tmp_path):
    with pytest.raises(ValueError, match="inside"), only_process_in(tmp_path):
        raise ValueError("inside")
    with only_process_in(tmp_path):
        pass
