"""The script behind `make`, with small stand-ins for Python and apt-get in its PATH."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / ".ci" / "venv.sh"

# A Python that can make virtual environments if `venv-works` lies beside it. Its environment notes
# what pip is asked for, and refuses what `refused` names.
PYTHON = """#!/bin/sh
case "$1 $2" in
"-c import sys; sys.exit"*) exit {unsuitable} ;;
"--version "*) echo "Python 3.11.2" ;;
"-m venv")
    test -e BIN/venv-works || exit 1
    mkdir -p "$3/bin" && cp BIN/python3.11 "$3/bin/python" ;;
"-m pip" | "-m uv")
    echo "$@" >> BIN/pip-calls
    if test -e BIN/refused && echo "$@" | grep -qF -f BIN/refused; then exit 1; fi ;;
esac
"""
APT = """#!/bin/sh
echo "$@" >> BIN/apt-calls
test "$1" != install || touch BIN/venv-works
"""
TOOLS = ("sh", "dirname", "rm", "mkdir", "cp", "id", "test", "grep", "touch")


class Machine:
    """A checkout and a PATH that holds nothing but what is put there."""

    def __init__(self, folder: Path) -> None:
        self.checkout, self.bin = folder / "checkout", folder / "bin"
        (self.checkout / ".ci").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(SCRIPT, self.checkout / ".ci")
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None
            (self.bin / tool).symlink_to(found)
        self.add("sudo", '#!/bin/sh\nshift\n"$@"\n')

    def add(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text.replace("BIN", str(self.bin)), encoding="utf-8")
        path.chmod(0o755)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.bin / "sh", ".ci/venv.sh", *arguments],
            cwd=self.checkout,
            env={"PATH": str(self.bin)},
            capture_output=True,
            text=True,
            check=False,
        )

    def noted(self, name: str) -> str:
        path = self.bin / name
        return path.read_text(encoding="utf-8") if path.exists() else ""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_everything_is_installed_into_a_new_environment(machine: Machine) -> None:
    machine.add("python3.11", PYTHON.format(unsuitable=0))
    machine.add("venv-works", "")
    done = machine.run()
    assert done.returncode == 0, done.stderr
    assert "three minutes and 6 GB" in done.stdout
    calls = machine.noted("pip-calls")
    assert ".[train,onnxruntime,openvino,track,demo,weights,dev,dev-train]" in calls
    assert ".[modelopt]" in calls and ".[tensorrt-rtx]" in calls
    assert "uv" not in calls


def test_an_environment_that_works_is_kept(machine: Machine) -> None:
    machine.add("python3.11", PYTHON.format(unsuitable=0))
    machine.add("venv-works", "")
    machine.run()
    mine = machine.checkout / ".venv" / "mine"
    mine.touch()
    assert machine.run().returncode == 0
    assert mine.exists()


def test_without_a_suitable_python_it_says_which_are(machine: Machine) -> None:
    machine.add("python3", PYTHON.format(unsuitable=1))
    machine.add("venv-works", "")
    done = machine.run()
    assert done.returncode == 1
    assert (
        "Error: Python 3.10, 3.11, 3.12, 3.13 or 3.14 is needed, and none was found." in done.stderr
    )
    assert not (machine.checkout / ".venv").exists()


def test_a_missing_venv_module_is_installed(machine: Machine) -> None:
    machine.add("python3.11", PYTHON.format(unsuitable=0))
    machine.add("apt-get", APT)
    done = machine.run()
    assert done.returncode == 0, done.stderr
    assert "install -y python3.11-venv" in machine.noted("apt-calls")


def test_where_it_cannot_be_installed_the_user_is_told_how(machine: Machine) -> None:
    machine.add("python3.11", PYTHON.format(unsuitable=0))
    done = machine.run()
    assert done.returncode == 1
    assert "apt-get install python3.11-venv" in done.stderr


def test_packages_that_fail_are_an_error(machine: Machine) -> None:
    machine.add("python3.11", PYTHON.format(unsuitable=0))
    machine.add("venv-works", "")
    machine.add("refused", "train")
    done = machine.run()
    assert done.returncode == 1
    assert "The packages could not be installed" in done.stderr


def test_the_lowest_versions_get_an_environment_of_their_own(machine: Machine) -> None:
    machine.add("python3.11", PYTHON.format(unsuitable=0))
    machine.add("venv-works", "")
    done = machine.run("lowest")
    assert done.returncode == 0, done.stderr
    assert (machine.checkout / ".venv-lowest").exists()
    assert not (machine.checkout / ".venv").exists()
    bootstrap, *calls = machine.noted("pip-calls").splitlines()
    assert bootstrap.endswith("uv")
    assert len(calls) == 3
    for call in calls:
        assert call.startswith("-m uv pip install") and "--resolution lowest-direct" in call


def test_an_unknown_environment_is_refused(machine: Machine) -> None:
    done = machine.run("highest")
    assert done.returncode == 1
    assert "There is no environment highest" in done.stderr


@pytest.mark.parametrize("missing", ["modelopt", "tensorrt-rtx"])
def test_a_platform_without_an_optional_package_goes_on(machine: Machine, missing: str) -> None:
    machine.add("python3.11", PYTHON.format(unsuitable=0))
    machine.add("venv-works", "")
    machine.add("refused", missing)
    done = machine.run()
    assert done.returncode == 0
    assert f"{'nvidia-' if missing == 'modelopt' else ''}{missing}" in done.stdout.lower()


def test_a_platform_without_tensorrt_rtx_goes_on(machine: Machine) -> None:
    machine.add("python3.11", PYTHON.format(unsuitable=0))
    machine.add("venv-works", "")
    machine.add("refused", "tensorrt-rtx")
    done = machine.run()
    assert done.returncode == 0
    assert "--target cpu" in done.stdout
