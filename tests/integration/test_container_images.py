"""The steps of every Dockerfile, executed; and a bundle through each entry point, as its user.

The base images are not asked of a registry: tests/support/python_base.sh makes what stands in for
them. Of an image on NVIDIA's, only the steps on top are tested.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from built_images import Builder, Image, builder, what_is_missing
from colour_bundle import packed, solid
from PIL import Image as Picture
from project import Project
from sshd import needs_sshd, ssh_device

from tmkd_deploy.devices.ssh_route import CONFIGURATION

_MISSING = what_is_missing()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),  # gigabytes of CUDA are downloaded
    pytest.mark.skipif(_MISSING is not None, reason=str(_MISSING)),
]

# What Triton compiles when a kernel is first launched, and what torch.compile does on a CPU.
COMPILE = """
import pathlib, tempfile, torch, triton, triton.runtime.build as build
backend = pathlib.Path(triton.__file__).parent / "backends" / "nvidia"
with tempfile.TemporaryDirectory() as folder:
    headers = [str(backend / "include")]
    build._build("driver", str(backend / "driver.c"), folder, [], headers, [], [])
x = torch.arange(6.0)
assert torch.equal(torch.compile(lambda x: torch.relu(x - 2) * 3)(x), torch.relu(x - 2) * 3)
print("compiled")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    with builder(tmp_path_factory.mktemp("images")) as found:
        yield found


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A bundle and a green picture, which anyone may read."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    packed(folder / "bundle")
    Picture.fromarray(solid("green")).save(folder / "part.png")
    return opened(folder)


def opened(folder: Path) -> Path:
    """The folder, after every user was let into it."""
    folder.parent.chmod(0o755)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    return folder


def assert_is_healthy_and_runs_bundles(image: Image, shelf: Path) -> None:
    told = image.run("sh", "-c", "id -u; touch $HOME/a /project/a && echo writes; touch /etc/a")
    assert told.stdout.split() == ["1000", "writes"] and told.returncode != 0

    done = image.check_health()
    assert done.returncode == 0, done.stdout + done.stderr

    mounted = {shelf: "/project"}
    done = image.enter("bundle", "verify", "bundle/colours-cpu.tmkd", mounted=mounted)
    assert done.returncode == 0 and "is valid" in done.stdout, done.stderr
    # as whoever owns the files
    run = ("bundle", "run", "bundle/colours-cpu.tmkd", "part.png", "--json")
    done = image.enter(*run, mounted=mounted, user="4321:4321")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] == "green"


def test_cpu(made: Builder, shelf: Path) -> None:
    image = made.build("Dockerfile.cpu")
    assert_is_healthy_and_runs_bundles(image, shelf)
    assert image.run("python", "-c", "import torch").returncode != 0
    # a health check has to be able to fail
    image.run("pip", "uninstall", "--yes", "onnxruntime", user="0")
    assert image.check_health().returncode == 4


def test_train(made: Builder, shelf: Path, fresh_project: Project, images: Path) -> None:
    image = made.build("Dockerfile.train")
    assert_is_healthy_and_runs_bundles(image, shelf)

    mounted = {opened(fresh_project.folder): "/project", images: str(images)}
    done = image.enter("run", "--target", "cpu", mounted=mounted)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((fresh_project.run_folder / "bundle" / "cpu").glob("*.tmkd"))

    done = image.run("python", "-c", COMPILE)
    assert done.returncode == 0 and "compiled" in done.stdout, done.stderr
    # nor does it work without what the Dockerfile installs
    image.run("dpkg", "--remove", "--force-depends", "libc6-dev", user="0")
    assert image.run("python", "-c", COMPILE).returncode != 0


def test_jetson(made: Builder, shelf: Path) -> None:
    image = made.build("Dockerfile.jetson")
    assert_is_healthy_and_runs_bundles(image, shelf)


@needs_sshd
def test_the_agent_runs_in_a_jetson_s_container(
    made: Builder, fresh_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = made.build("Dockerfile.jetson", "--target", "agent")
    health = image.check_health()
    assert health.returncode != 0 and "tensorrt" in health.stderr  # the stand-in has none
    with ssh_device(tmp_path / "board") as device:
        monkeypatch.setenv(CONFIGURATION, str(device.config))
        exports = [f"export {key}={shlex.quote(value)}" for key, value in made.environment.items()]
        command = shlex.join(image.command(*image.config["Entrypoint"]))
        device.give_python("\n".join([*exports, f'exec {command} "$@"']))
        done = fresh_project.run("doctor", "--device", device.address, "--json")
    record = done.json()["device_info"]
    assert "Debian GNU/Linux 13" in record["system"], record
    assert record["python"].startswith("3.13.") and record["numpy"], record
