"""The Dockerfiles of docker/, built by buildah on stand-ins for their base images, and run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
_MAKE_BASE = Path(__file__).with_name("python_base.sh")


def what_is_missing() -> str | None:
    """Why nothing can be built here; None where it can."""
    if os.geteuid() != 0:
        return "debootstrap and chroot need root"
    needed = [name for name in ("debootstrap", "buildah") if shutil.which(name) is None]
    return f"needs {' and '.join(needed)} (apt-get install)" if needed else None


def bases() -> set[str]:
    """The images that the Dockerfiles start from, as buildah names them."""
    text = "\n".join(path.read_text("utf-8") for path in DOCKER.glob("Dockerfile.*[a-z]"))
    found = re.findall(r"^ARG BASE=(\S+)", text, re.MULTILINE)
    return {name if "/" in name else f"docker.io/library/{name}" for name in found}


class Builder:
    """buildah with a store of its own in `folder`, so that this machine's images are left alone."""

    def __init__(self, folder: Path) -> None:
        store = folder / "storage.conf"
        store.write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/store"\n'
            f'runroot = "{folder}/run"\n',
            encoding="utf-8",
        )
        self.environment = {
            "PATH": os.environ["PATH"],
            "CONTAINERS_STORAGE_CONF": str(store),
            # without cgroups and network namespaces, of which a container may have none to give
            "BUILDAH_ISOLATION": "chroot",
            "TMPDIR": str(folder),
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command that uses the store, however it ends."""
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=self.environment, cwd=ROOT
        )

    def buildah(self, *arguments: str) -> str:
        """Standard output of one command, which has to succeed."""
        done = self.run("buildah", *arguments)
        assert done.returncode == 0, f"{done.args}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout.strip()

    def build(self, dockerfile: str, *options: str) -> Image:
        """Build a Dockerfile of docker/ and start a container from it."""
        path = DOCKER / dockerfile
        self.buildah(
            *("build", "--pull-never", "--format", "docker", "--tag", dockerfile.lower()),
            *("--ignorefile", f"{path}.dockerignore", "--file", str(path), *options, "."),
        )
        container = self.buildah("from", "--pull-never", f"localhost/{dockerfile.lower()}")
        config = json.loads(self.buildah("inspect", container))["Docker"]["config"]
        return Image(self, container, config)


@contextmanager
def builder(folder: Path) -> Iterator[Builder]:
    """A builder that has the stand-ins; its store is deleted in the end."""
    made = Builder(folder)
    try:
        done = made.run("sh", str(_MAKE_BASE), str(folder), *bases())
        assert done.returncode == 0, done.stderr
        yield made
    finally:
        made.run("buildah", "rm", "--all")
        made.run("buildah", "rmi", "--all", "--force")
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Image:
    """A container of an image, and the `config` with which Docker would run it."""

    builder: Builder
    container: str
    config: dict[str, Any]

    def command(
        self, *command: str, mounted: Mapping[Path, str] | None = None, user: str = ""
    ) -> list[str]:
        """What runs a command in it, as the image's user unless another is given."""
        options = ["--user", user] if user else []
        for outside, inside in (mounted or {}).items():
            options += ["--volume", f"{outside}:{inside}"]
        return ["buildah", "run", *options, self.container, "--", *command]

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """A command, however it ends; see `command`."""
        return self.builder.run(*self.command(*command, **options))

    def enter(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """As `docker run IMAGE ARGUMENTS`."""
        return self.run(*self.config["Entrypoint"], *arguments, **options)

    def check_health(self) -> subprocess.CompletedProcess[str]:
        """As Docker does: exit code 0 is healthy."""
        kind, *command = self.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.run(*command)
