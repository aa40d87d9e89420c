"""Custom profiles extend the shipped ones, and errors in them name the line."""

import pytest
import yaml

from tmkd_deploy.errors import RequestError
from tmkd_deploy.targets import catalog


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TMKD_DEPLOY_TARGETS", str(tmp_path))
    return tmp_path


def write(folder, name="line-camera", text=None, **changes) -> None:
    content = catalog.get("jetson-orin-nx").model_dump(mode="json") | {"name": name} | changes
    (folder / f"{name}.yaml").write_text(text or yaml.safe_dump(content, sort_keys=False))


def refused(name="line-camera") -> RequestError:
    with pytest.raises(RequestError) as caught:
        catalog.get(name)
    return caught.value


def test_an_own_profile_is_a_target(folder) -> None:
    write(folder, memory_mb=16384)
    assert "line-camera" in catalog.names()
    assert catalog.get("line-camera").memory_mb == 16384
    assert catalog.get("cpu").name == "cpu"


@pytest.mark.parametrize("name", ["cpu", "jetson"])
def test_a_name_that_is_taken_is_refused(folder, name) -> None:
    write(folder, name=name)
    error = refused("cpu")
    assert "already" in error.problem and f"{name}.yaml" in str(error.where)


@pytest.mark.parametrize(
    ("changes", "where", "problem"),
    [
        ({"memorymb": 3}, "(memorymb)", 'There is no key "memorymb"'),
        ({"memory_mb": "much"}, "(memory_mb)", "valid integer"),
        ({"build": "here"}, "line-camera.yaml", "tensorrt requires build: on_device"),
        ({"power_modes": [{"id": 0}]}, "(power_modes[0].name)", 'The key "name" is missing'),
        ({"precisions": ["fp16", "int4"]}, "(precisions[1])", "'int8'"),
    ],
)
def test_an_invalid_value_is_reported_with_its_place(folder, changes, where, problem) -> None:
    write(folder, **changes)
    error = refused()
    assert str(error.where).endswith(where)
    assert problem in error.problem


def test_the_line_is_that_of_the_key(folder) -> None:
    write(folder, memory_mb="much")
    lines = (folder / "line-camera.yaml").read_text().splitlines()
    number = 1 + next(i for i, line in enumerate(lines) if line.startswith("memory_mb"))
    assert f"line-camera.yaml:{number} " in str(refused().where)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Invalid value"),
        ("- a\n", "Invalid value"),
        ("name: [", "not valid YAML"),
        ("name: a\nname: b\n", "given twice"),
        ("name: !!python/object:os.system x\n", "tag"),
    ],
)
def test_a_file_that_is_no_profile_is_refused(folder, text, problem) -> None:
    write(folder, text=text or "\n")
    assert problem in refused().problem


def test_file_and_name_agree(folder) -> None:
    write(folder)
    (folder / "line-camera.yaml").rename(folder / "camera.yaml")
    error = refused("camera")
    assert "'line-camera'" in error.problem and "'camera'" in error.problem


def test_a_missing_folder_is_reported(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("TMKD_DEPLOY_TARGETS", str(tmp_path / "none"))
    assert "does not exist" in refused("cpu").problem
