"""Decoding in several processes: the same bytes, and nothing left behind after a failure."""

import contextlib
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from data_makers import Listener, make_parquet, make_tar, read_source_with_pipe
from PIL import Image

from tmkd_deploy.data.decode import IMAGES_PER_BLOCK
from tmkd_deploy.data.prepare import prepare
from tmkd_deploy.errors import DataError, EnvironmentProblem
from tmkd_deploy.recipe.schema import Data

STUCK = "1/0501.png"
IMAGES = 1100  # enough for two processes
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc")


@pytest.fixture(scope="module")
def images():
    """Encoded images, all different, of which two are damaged."""
    ramp = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    made = []
    for number in range(IMAGES):
        ramp[0, 0] = divmod(number, 256)[0], number % 256, 0
        made.append(encoded_array(ramp))
    made[5] = b"no image"
    made[1000] = made[1000][:-40]
    return made


def encoded_array(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "png", compress_level=0)
    return buffer.getvalue()


def make_source(kind, root, images):
    if kind == "parquet":  # a row group spans many blocks
        rows = [(image, None, number % 2) for number, image in enumerate(images)]
        return make_parquet(root / "all.parquet", rows, row_group_size=700)
    if kind == "webdataset":
        for first in range(0, len(images), 100):
            members = {}
            for number in range(first, first + 100):
                members[f"{number}.png"] = images[number]
                members[f"{number}.cls"] = str(number % 2).encode()
            make_tar(root / f"s-{first // 100:03}.tar", members)
        return root / "s-{000..010}.tar"
    for number, image in enumerate(images):
        file = root / str(number % 2) / f"{number:04}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image)
    return root


@pytest.mark.parametrize("kind", ["folder", "parquet", "webdataset"])
def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path, images, kind):
    path = make_source(kind, tmp_path / "source", images)
    made = {}
    for workers in (1, 2):
        folder = tmp_path / f"{workers}"
        folder.mkdir()
        spec = Data(source=kind, path=path, image_size=16, workers=workers, max_corrupt_images=2)
        record = prepare(spec, folder, Listener())
        made[workers] = record, {file.name: file.read_bytes() for file in folder.iterdir()}
    assert made[1] == made[2]
    assert len(made[1][0].skipped) == 2
    assert multiprocessing.active_children() == []


def test_a_source_that_fails_in_a_worker_is_named(tmp_path, images):
    root = make_source("folder", tmp_path / "source", images)
    (root / "0" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"'0/gone\.png' cannot be read: No such file") as caught:
        prepare(Data(source="folder", path=root, workers=2), tmp_path, Listener())
    assert caught.value.where == str(root / "0" / "gone.png")
    assert "exists and is readable" in caught.value.advice
    assert multiprocessing.active_children() == []


def test_workers_import_no_training_library(tmp_path):
    script = "import sys, tmkd_deploy.data.workers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.fixture
def stuck(tmp_path, images, monkeypatch):
    """Images in a folder, and the pipe that the reader of `STUCK` blocks on."""
    make_source("folder", tmp_path / "source", images)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setattr("tmkd_deploy.data.prepare.read_source", read_source_with_pipe(pipe, STUCK))
    return pipe


def reader_of(pipe):
    """The process that has `pipe` open; opening it for writing blocks until then."""
    with pipe.open("wb"):
        for process in Path("/proc").glob("[0-9]*"):
            if process.name == str(os.getpid()):
                continue
            try:
                opened = [file.readlink() for file in (process / "fd").iterdir()]
            except OSError:
                continue
            if pipe in opened:
                return int(process.name)
        raise AssertionError("nobody reads the pipe")


def kill_reader(pipe, number):
    """Keep the pipe open until the reader is dead; closing it would unblock the reader."""
    release = os.open(pipe, os.O_WRONLY)
    os.kill(reader_of(pipe), number)
    time.sleep(0.2)
    os.close(release)


@needs_proc
@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (signal.SIGKILL, EnvironmentProblem, "lower 'data.workers'"),
        (signal.SIGSEGV, DataError, "This image crashes the decoder"),
    ],
)
def test_a_killed_worker_names_what_it_was_decoding(tmp_path, stuck, number, kind, advice):
    killer = threading.Thread(target=kill_reader, args=(stuck, number))
    killer.start()
    spec = Data(source="folder", path=tmp_path / "source", image_size=16, workers=2)
    with pytest.raises(kind, match=rf"killed by {number.name} while decoding image ") as caught:
        prepare(spec, tmp_path, Listener())
    killer.join()
    assert f"image 801, '{STUCK}'" in caught.value.problem
    assert advice in caught.value.advice
    assert caught.value.where == f"folder {tmp_path / 'source'}"
    assert multiprocessing.active_children() == []


class Deadline(Listener):
    """Ends all patience once a single block is left and its worker waits for the pipe."""

    def __init__(self, pipe, monkeypatch):
        super().__init__()
        self.pipe, self.monkeypatch, self.done = pipe, monkeypatch, 0

    def begin(self, description, total, unit):
        return self

    def advance(self, count):
        self.done += count
        if self.done == IMAGES - IMAGES_PER_BLOCK:
            self.writer = os.open(self.pipe, os.O_WRONLY)  # waits for the reader; writes nothing
            self.monkeypatch.setattr("tmkd_deploy.data.workers.SECONDS_PER_IMAGE", 0)

    def finish(self):
        os.close(self.writer)


def test_an_image_that_never_ends_is_named_after_the_deadline(tmp_path, stuck, monkeypatch):
    spec = Data(source="folder", path=tmp_path / "source", image_size=16, workers=2)
    with pytest.raises(DataError, match="takes more than 0 seconds") as caught:
        prepare(spec, tmp_path, Deadline(stuck, monkeypatch))
    assert f"image 801, '{STUCK}'" in caught.value.problem
    assert "Remove or re-encode" in caught.value.advice
    assert multiprocessing.active_children() == []


SCRIPT = """
    import sys
    from pathlib import Path
    from tmkd_deploy import artifacts
    from tmkd_deploy.data import prepare as stage
    from tmkd_deploy.events import SilentEvents
    from tmkd_deploy.recipe.schema import Data

    if __name__ == "__main__":
        source, place, pipe = map(Path, sys.argv[1:4])
        sys.path.append(sys.argv[5])
        from data_makers import read_source_with_pipe

        stage.read_source = read_source_with_pipe(pipe, sys.argv[4])
        try:
            with artifacts.writing(place, kind="data", fingerprint="f", inputs={}) as draft:
                spec = Data(source="folder", path=source, image_size=16, workers=2)
                draft.record = stage.prepare(spec, draft.folder, SilentEvents())
        except KeyboardInterrupt:
            sys.exit("interrupted")
"""


@pytest.fixture
def running(tmp_path, stuck):
    """A process in its own group that prepares data and blocks on the pipe."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    place = tmp_path / "artifacts" / "prepare"
    command = [sys.executable, script, tmp_path / "source", place, stuck, STUCK]
    command.append(Path(__file__).parent)
    process = subprocess.Popen(
        command, start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    release = os.open(stuck, os.O_WRONLY)  # waits for the reader
    yield process, release
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # whatever is left holds its output open
    process.communicate()


def assert_group_ends(group):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    raise AssertionError("processes are left")


@needs_proc
def test_ctrl_c_leaves_no_process_and_no_artifact(tmp_path, running):
    process, release = running
    os.killpg(process.pid, signal.SIGINT)  # to every process, as a terminal does
    out, err = process.communicate(timeout=120)
    os.close(release)
    assert (process.returncode, out, err) == (1, "", "interrupted\n")
    assert_group_ends(process.pid)
    assert list((tmp_path / "artifacts").iterdir()) == []


@needs_proc
def test_workers_exit_when_their_parent_is_killed(running):
    process, release = running
    process.kill()
    process.wait()
    os.close(release)  # the worker resumes and finishes its block
    assert_group_ends(process.pid)
