"""Building the C++ runtime for the tests, and speaking with its probe."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "runtime" / "cpp"
TESTS = Path(__file__).parent
# AddressSanitizer reports what ONNX Runtime keeps until the process ends as a leak
ENVIRONMENT = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}


@dataclass(frozen=True)
class Built:
    """A build of the library with its programs."""

    folder: Path

    @property
    def classify(self) -> Path:
        return self.folder / "tmkd" / "tmkd-classify"

    def probe(self, *words: str, given: bytes = b"") -> bytes:
        """What the probe answers to `given`."""
        return run([self.folder / "probe", *words], given=given)

    def verdicts_on_texts(self, what: str, texts: Iterable[bytes]) -> list[str]:
        """One line per text."""
        given = b"".join(struct.pack("<I", len(text)) + text for text in texts)
        return self.probe(what, given=given).decode().splitlines()

    def verdicts_on_files(self, what: str, paths: Sequence[Path], *words: str) -> list[str]:
        """One line per path."""
        given = "".join(f"{path}\n" for path in paths).encode()
        lines = self.probe(what, *words, given=given).decode().splitlines()
        assert len(lines) == len(paths)
        return lines


def run(command: Sequence[str | Path], given: bytes = b"", folder: Path | None = None) -> bytes:
    """What a command that succeeds prints."""
    done = subprocess.run(
        command,
        input=given,
        capture_output=True,
        check=False,
        cwd=folder,
        env=ENVIRONMENT,
        timeout=1000,
    )
    assert done.returncode == 0, (done.stdout[-4000:] + done.stderr[-4000:]).decode()
    return done.stdout


def require_compiler() -> None:
    """Skip where the library cannot be built."""
    for program, package in (("cmake", "cmake"), ("c++", "g++")):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install {package}")


def onnxruntime_root() -> Path:
    """The folder of the Python package, which has the library; the headers are our own."""
    onnxruntime = pytest.importorskip("onnxruntime")
    root = Path(onnxruntime.__file__).parent
    if not list(root.glob("capi/libonnxruntime.so.*")):
        pytest.skip("this onnxruntime package brings no libonnxruntime.so to link with")
    return root


def build(folder: Path, *, sanitize: bool = False) -> Built:
    """Configure and build the library, its programs and the probe."""
    require_compiler()
    run(
        [
            *("cmake", "-S", TESTS, "-B", folder),
            "-DCMAKE_BUILD_TYPE=None",  # Release takes longer to build, and checks less
            f"-DCMAKE_CXX_FLAGS={'-O0 -g1' if sanitize else '-O1 -D_GLIBCXX_ASSERTIONS'}",
            f"-DONNXRUNTIME_ROOT={onnxruntime_root()}",
            f"-DTMKD_SANITIZE={'ON' if sanitize else 'OFF'}",
        ]
    )
    run(["cmake", "--build", folder, "-j", str(len(os.sched_getaffinity(0)))])
    return Built(folder)
