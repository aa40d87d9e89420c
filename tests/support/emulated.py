"""An aarch64 device that qemu emulates here: a root of its own behind a real SSH server."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sshd import SSHD, SshDevice, ssh_device

_REGISTERED = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
_MAKE_ROOT = Path(__file__).with_name("aarch64_root.sh")


def what_is_missing() -> str | None:
    """Why no device can be emulated here; None where it can."""
    if platform.machine() != "x86_64":
        return "only an x86-64 machine emulates an aarch64 one"
    if os.geteuid() != 0:
        return "chroot needs root"
    if SSHD is None or shutil.which("ssh") is None:
        return "needs OpenSSH's server and client (apt-get install openssh-server)"
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        return "the device's packages are Debian's, and need apt-get and dpkg"
    if shutil.which("qemu-aarch64-static") is None or not _REGISTERED.exists():
        return "needs qemu-user-static, registered with binfmt_misc (sh .ci/emulator.sh)"
    return None


def make_root(folder: Path) -> Path:
    """The root of a new device, with Python, NumPy and ONNX Runtime for aarch64."""
    subprocess.run(["sh", str(_MAKE_ROOT), str(folder), sys.executable], check=True, timeout=300)
    return folder


@contextmanager
def emulated_device(folder: Path, root: Path) -> Iterator[SshDevice]:
    """The device with that root, behind a server in `folder`; its Python knows no other files."""
    with ssh_device(folder) as device:
        program = (
            f'unset PYTHONPATH; exec "{shutil.which("chroot")}" "{root}" /usr/bin/python3 "$@"'
        )
        device.give_python(program)
        yield device
