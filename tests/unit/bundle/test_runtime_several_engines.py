"""Bundles with TensorRT engines, or several: the best one that can run here does.

Without a GPU, stand-ins run the "plans", which are ONNX files: see tests/support.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_stand_ins
import numpy as np
import pytest
from colour_bundle import (
    COLOURS,
    Pack,
    as_older,
    colour_model,
    measurements,
    solid,
    with_engine,
    with_member,
)

from tmkd_deploy.bundle.merge import merge
from tmkd_deploy.runtime import (
    BuildRecipe,
    BundleError,
    MadeFor,
    RuntimeMissingError,
    load,
    verify,
)
from tmkd_deploy.runtime.engine_machine import EngineMachine
from tmkd_deploy.runtime.installed_engines import FOLDER_VARIABLE, BuildKey, find, keep

HERE = EngineMachine("10.3.0.30", 87)  # as the stand-ins have it
FOR_HERE = MadeFor(*HERE, None)
ELSEWHERE = MadeFor("10.3.0.30", 72, None)
RECIPE = BuildRecipe("model-0.onnx", "int8", "strong", 512, None)
KEY = BuildKey("tensorrt", hashlib.sha256(colour_model()).hexdigest(), "int8", "strong", 512, None)


@pytest.fixture(autouse=True)
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where engines are installed; it does not exist yet."""
    folder = tmp_path / "installed"
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    return folder


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    gpu_stand_ins.tensorrt_module(monkeypatch, version=HERE.release)
    return gpu_stand_ins.cuda_library(tmp_path, monkeypatch)


@pytest.fixture
def for_gpu(pack_colours: Pack, tmp_path: Path) -> Callable[..., Path]:
    """Packs a TensorRT engine with what it takes to build it elsewhere."""

    def make(made_for: MadeFor | None = FOR_HERE, **changes: Any) -> Path:
        onnx = tmp_path / "source.onnx"
        onnx.write_bytes(colour_model())
        arguments: dict[str, Any] = {
            "runtime": "tensorrt",
            "precision": "int8",
            "measurements": measurements(measured=False).model_copy(update={"target": "jetson"}),
            "build": RECIPE,
            "onnx": onnx,
        }
        return pack_colours(made_for=made_for, **(arguments | changes))[0]

    return make


def runs(path: Path) -> str:
    """Where the engine is from that classifies all colours."""
    model = load(path)
    images = [solid(colour) for colour in COLOURS]
    assert [each.label for each in model.predict_batch(images)] == COLOURS
    assert model.note == ""
    return model.engine_source


def refused(path: Path) -> RuntimeMissingError:
    with pytest.raises(RuntimeMissingError) as caught:
        load(path)
    assert caught.value.where == str(path)
    return caught.value


def test_a_plan_for_this_machine_runs(gpu: Any, for_gpu: Callable[..., Path]) -> None:
    path = for_gpu()
    assert runs(path) == "bundle"
    (report,) = verify(path).engines
    assert report.executed and report.title == "INT8 with TensorRT for jetson"
    assert gpu_stand_ins.calls(gpu).count("cudaGraphLaunch") >= 3 + 3


@pytest.mark.parametrize(
    "made_for",
    [
        ELSEWHERE,
        MadeFor("10.3.1", 87, None),
        MadeFor("10.3.0.26", 87, None),
        MadeFor("8.5.2", 87, None),
        MadeFor("10.3", 87, None),
    ],
)
def test_a_plan_for_another_machine_is_not_loaded(
    gpu: Any, for_gpu: Callable[..., Path], made_for: MadeFor
) -> None:
    path = for_gpu(made_for)
    gpu_stand_ins.calls(gpu)
    error = refused(path)
    for text in (made_for.release, str(made_for.compute_capability), *map(str, HERE)):
        assert text in error.problem
    assert f"tmkd-deploy bundle install {path}" in error.advice
    assert "cudaStreamCreate" not in gpu_stand_ins.calls(gpu)
    assert not verify(path).executed


def test_a_release_without_its_build_number_is_enough(
    gpu: Any, for_gpu: Callable[..., Path]
) -> None:
    assert runs(for_gpu(MadeFor("10.3.0", 87, None))) == "bundle"


def test_a_plan_of_an_older_format_is_not_loaded(gpu: Any, for_gpu: Callable[..., Path]) -> None:
    error = refused(as_older(for_gpu(), 2))
    assert "does not say for which release and GPU" in error.problem
    assert "Make the bundle again" in error.advice


def test_a_plan_that_tensorrt_rejects_is_to_be_built_here(
    gpu: Any, for_gpu: Callable[..., Path]
) -> None:
    error = refused(for_gpu(model=b"stale"))
    assert "rejects the engine: Serialization" in error.problem
    assert "bundle install" in error.advice


def test_a_plan_that_tensorrt_rejects_gives_way_to_one_built_here(
    gpu: Any, for_gpu: Callable[..., Path]
) -> None:
    keep(KEY, HERE, colour_model(), {})
    assert runs(for_gpu(model=b"stale")) == "installed"


def test_an_engine_that_cannot_be_captured_says_so(gpu: Any, for_gpu: Callable[..., Path]) -> None:
    gpu.stand_in_fail(b"cudaStreamBeginCapture", 900)
    path = for_gpu()
    assert "without a CUDA graph" in load(path).note
    assert any("without a CUDA graph" in warning for warning in verify(path).warnings)


def test_an_installed_engine_runs(gpu: Any, for_gpu: Callable[..., Path], engines: Path) -> None:
    path = for_gpu(ELSEWHERE, model=b"stale")
    refused(path)
    plan = keep(KEY, HERE, colour_model(), {})
    assert plan.parent == engines and engines.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in engines.iterdir()} == {0o600}
    assert runs(path) == "installed"
    assert any("installed here" in sentence for sentence in verify(path).checked)


@pytest.mark.parametrize(
    ("key", "machine"),
    [
        (KEY, HERE._replace(release="10.3.0.26")),
        (KEY, HERE._replace(compute_capability=89)),
        (KEY._replace(dla_core=0), HERE),
        (KEY._replace(precision="fp16"), HERE),
        (KEY._replace(workspace_mb=None), HERE),
        (KEY._replace(onnx_sha256="0" * 64), HERE),
        (KEY._replace(runtime="tensorrt_rtx"), HERE),
    ],
)
def test_an_engine_installed_for_something_else_is_not_used(
    gpu: Any, for_gpu: Callable[..., Path], key: BuildKey, machine: EngineMachine
) -> None:
    keep(key, machine, colour_model(), {})
    refused(for_gpu(ELSEWHERE))


def test_an_installed_engine_that_was_altered_is_not_used(
    gpu: Any, for_gpu: Callable[..., Path], engines: Path
) -> None:
    path = for_gpu(ELSEWHERE)
    plan = keep(KEY, HERE, colour_model(), {})
    record = plan.with_suffix(".json")
    for change in (
        lambda: plan.write_bytes(colour_model() + b"\0"),
        lambda: record.write_text("{}"),
        lambda: record.write_text("[" * 5000),
        record.unlink,
        lambda: plan.chmod(0o620),
        lambda: (plan.rename(engines / "elsewhere"), plan.symlink_to(engines / "elsewhere")),
    ):
        change()
        assert find(KEY, HERE) is None
        refused(path)
        plan.unlink()
        keep(KEY, HERE, colour_model(), {})
        assert runs(path) == "installed"


def others_may_write(folder: Path) -> None:
    folder.chmod(0o770)


def is_a_link(folder: Path) -> None:
    folder.rename(folder.with_name("real"))
    folder.symlink_to(folder.with_name("real"))


def lies_where_anyone_may_write(folder: Path) -> None:
    folder.parent.chmod(0o777)


def belongs_to_another(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a folder away")
    os.chown(folder, 65534, -1)


@pytest.mark.parametrize(
    "change", [others_may_write, is_a_link, lies_where_anyone_may_write, belongs_to_another]
)
def test_a_folder_that_others_may_write_is_not_trusted(
    gpu: Any, for_gpu: Callable[..., Path], engines: Path, change: Callable[[Path], None]
) -> None:
    keep(KEY, HERE, colour_model(), {})
    path = for_gpu(ELSEWHERE)
    change(engines)
    error = refused(path)
    assert str(engines) in error.problem and "no engine in it is used" in error.problem
    assert FOLDER_VARIABLE in error.advice


@pytest.fixture
def both(for_gpu: Callable[..., Path], bundle: Path, tmp_path: Path) -> Path:
    """A TensorRT engine, and one for ONNX Runtime."""
    merge([for_gpu(), bundle], tmp_path / "both.tmkd")
    return tmp_path / "both.tmkd"


def test_the_first_engine_that_runs_here_does(both: Path, gpu: Any) -> None:
    assert load(both).engine.target == "jetson"
    report = verify(both)
    assert [each.executed for each in report.engines] == [True, True]
    assert len([text for text in report.checked if "golden images" in text]) == 2


def test_without_its_gpu_the_next_one_does(both: Path) -> None:
    assert runs(both) == "bundle"
    assert load(both).engine.target == "cpu"
    report = verify(both)
    assert [each.executed for each in report.engines] == [False, True]
    assert any("jetson: The engine was not run here" in text for text in report.warnings)


def test_where_none_runs_every_reason_is_given(both: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    error = refused(both)
    assert "None of this bundle's 2 engines runs here" in error.problem
    for text in ("INT8 with TensorRT for jetson: ", "FP32 with ONNX Runtime for cpu: "):
        assert text in error.problem


def test_an_engine_that_computes_something_else_is_not_skipped(
    for_gpu: Callable[..., Path], bundle: Path, gpu: Any, tmp_path: Path
) -> None:
    good = for_gpu()
    merge([good, bundle], tmp_path / "new.tmkd")
    swapped = np.eye(3, dtype=np.float32)[[1, 0, 2]] / 16
    content = colour_model(swapped)
    with_member(tmp_path / "new.tmkd", "engine-9.onnx", content)
    with_engine(tmp_path / "new.tmkd", lambda engine: engine.update(engine="engine-9.onnx"))
    for use in (load, verify):
        with pytest.raises(BundleError, match="computes different results"):
            use(tmp_path / "new.tmkd")


def test_members_of_the_same_content_are_stored_once(both: Path) -> None:
    gpu, cpu = verify(both).manifest.engines
    assert gpu.build is not None
    # in this test, the plan, the model and the other engine are one and the same file
    assert gpu.engine == gpu.build.onnx == cpu.engine == "engine-0.onnx"
    assert gpu.golden_inputs == cpu.golden_inputs
    assert (gpu.made_for, cpu.made_for) == (FOR_HERE, None)
    assert gpu.build == dataclasses.replace(RECIPE, onnx="engine-0.onnx")


def test_the_batch_is_run_image_by_image(gpu: Any, for_gpu: Callable[..., Path]) -> None:
    model = load(for_gpu(), verify=False)
    gpu_stand_ins.calls(gpu)
    model.predict_batch([np.zeros((4, 4, 3), np.uint8)] * 5)
    assert gpu_stand_ins.calls(gpu).count("cudaGraphLaunch") == 5
