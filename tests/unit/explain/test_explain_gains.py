"""What each layer gains in integers, from the profiles of two real engines."""

import shutil

import pytest
from report_fixture import run_report

from tmkd_deploy import artifacts
from tmkd_deploy.engines.build import build
from tmkd_deploy.engines.interface import variant_for
from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.explain.gains import gains
from tmkd_deploy.records.onnx_model import MODEL
from tmkd_deploy.targets.catalog import get


@pytest.fixture(params=["cpu", "cpu-openvino"])
def cpu(request):
    """A target whose engines are profiled here."""
    pytest.importorskip(get(request.param).runtime)
    return request.param


@pytest.fixture
def run_folder(exported_digits, tmp_path, cpu):
    """Exported, built and as if measured for the CPU."""
    models = {}
    for precision in ("fp32", "int8"):
        variant = variant_for(runtime(get(cpu).runtime), precision)
        file, record = exported_digits(variant)
        place = tmp_path / "export" / variant.name
        with artifacts.writing(place, kind="export", fingerprint="", inputs={}) as draft:
            shutil.copyfile(file, draft.folder / MODEL)
            draft.record = record
        models[precision] = place / MODEL
    place = tmp_path / "build" / cpu
    with artifacts.writing(place, kind="build", fingerprint="", inputs={}) as draft:
        draft.record = build(get(cpu), models, 32, draft.folder, SilentEvents())
    for each in run_report().targets:
        name = each.gate.measurements.target
        target = get(cpu if name == "cpu" else name)
        place = tmp_path / "measure" / target.name
        with artifacts.writing(place, kind="measure", fingerprint="", inputs={}) as draft:
            draft.record = each.gate.measurements.model_copy(
                update={"runtime": target.runtime, "target": target.name}
            )
    return tmp_path


def test_a_target_that_was_measured_has_a_figure_for_each_layer(run_folder, cpu):
    medians = {
        row.engine: row.p50_ms for row in run_report().targets[0].gate.measurements.latency.rows
    }
    found = gains(run_folder)
    assert set(found) == {cpu}
    layers = {"conv1.0", "layer1.0.conv1", "layer1.0.downsample.1", "layer4.0.conv2", "fc"}
    assert layers <= set(found[cpu])
    assert all(-medians["int8"] < gain < medians["fp32"] for gain in found[cpu].values())


def test_where_nothing_was_measured_nothing_is_said(run_folder):
    shutil.rmtree(run_folder / "measure")
    assert gains(run_folder) == {}
