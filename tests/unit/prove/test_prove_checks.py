"""Each check on a stand-in for a Jetson that is as the claims say, and on one that is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_board import FakeBoard, failing
from lies import changed, fallback, in_manifest, measured, only

from tmkd_deploy.prove.registry import CHECKS
from tmkd_deploy.targets.untested_claims import CLAIMS

BY_HAND = {"flash", "gpu-group", "clocks", "memory"}
# what this board and release cannot show
ELSEWHERE = {"flags-after-myelin", "dla-int8-qdq", "rtx-run", "arm-decisions", "arm-speed"}
ELSEWHERE |= {"cpp-onnxruntime"}


def test_every_claim_has_a_check_and_every_check_a_claim() -> None:
    assert {claim.id for claim in CLAIMS} == CHECKS.keys()
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)


def test_a_board_that_is_as_claimed_shows_what_can_be_shown_on_it(prove, tmp_path) -> None:
    (tmp_path / "device").mkdir()
    board = FakeBoard(tmp_path / "device")
    proof = prove(board=board)
    found = {each.id: each for each in proof.claims}
    for name, each in found.items():
        expected = "not run" if name in BY_HAND | ELSEWHERE else "shown"
        assert each.outcome == expected, (name, each)
        assert bool(each.reason) == (expected == "not run")
        assert each.figures or each.lines or expected == "not run", name
    assert proof.complete and not proof.contradicted
    assert proof.with_root == [CHECKS[name].with_root for name in ("gpu-group", "clocks")]
    assert proof.name == "jetson-orin-nx-6.2"
    assert proof.board.modules == ["p3768-0000", "p3767-0000"]
    assert proof.before == proof.after
    assert proof.before.power_mode == "15W (2)"
    # and nothing else was asked for, least of all a setting
    reading = {"probe", "board_files", "clean"}
    running = {"build", "predict", "measure", "trtexec_times", "kit_build", "power_comparison"}
    assert set(board.asked) == reading | running | {
        *("foreign_engine", "cpp_run", "find_installed", "install", "remove_installed")
    }
    assert not board.installed


CONTRADICTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("module", {"board_files": changed(compatible=["nvidia,p3701-0005"])}, "does not list"),
    ("releases", {"board_files": changed(release=["# R35 (release), REVISION: 4.1"])}, "35.4.1"),
    ("power-mode", {"board_files": changed(modes=["< POWER_MODEL ID=2 NAME=25W >"])}, "25W"),
    (
        "power-mode",
        {"board_files": changed(modes=["POWER_MODEL ID=2 NAME=15W", "ID=0 NAME=7W"])},
        "fastest",
    ),
    ("build", {"build": in_manifest(typing="flags")}, "typing flags"),
    ("build", {"build": in_manifest(command=["trtexec"])}, "trtexec"),
    ("build", {"build": changed(reused=True)}, "cache"),
    ("build", {"build": failing}, "TensorRT failed."),
    ("same-decisions", {"predict": failing}, "TensorRT failed."),
    ("int8-layers", {"build": changed(layers=None)}, "no layers"),
    ("timing-cache", {"build": in_manifest(seconds=20.0)}, "no less time"),
    (
        "flags-after-myelin",
        {"build": in_manifest(strong_typing_failed="Myelin", typing="strong")},
        "strong",
    ),
    ("other-device", {"foreign_engine": changed(refused=None)}, "opened"),
    ("other-device", {"foreign_engine": changed(refused="Bad magic.")}, "both"),
    ("heat", {"measure": measured("conditions.throttled", None)}, "throttled"),
    ("heat", {"measure": measured("conditions.temperature_c", {})}, "temperature"),
    ("power", {"power_comparison": changed(tegrastats={"VDD_IN": [9000.0]})}, "0.78"),
    ("power", {"power_comparison": changed(tegrastats={"VIN": [9000.0]})}, "in common"),
    ("latency", {"measure": measured("warmup.int8.warmed_up", False)}, "still changing"),
    (
        "latency",
        {"measure": measured("device_ms.int8", lambda times: [3 * time for time in times])},
        "not below",
    ),
    ("trtexec-latency", {"trtexec_times": changed(compute_ms=1.2)}, "1.33"),
    ("trtexec", {"kit_build": changed(status=1, engine=None)}, "status 1"),
    ("cuda-graph", {"measure": measured("graph_problem.int8", "It cannot be captured.")}, "int8"),
    ("install", {"install": changed(path="/elsewhere")}, "not found again"),
    ("install", {"install": failing}, "TensorRT failed."),
    ("cpp-tensorrt", {"cpp_run": changed(status=2, step="build")}, "'build' ended with 2"),
    ("cpp-tensorrt", {"cpp_run": changed(lines=["no JSON"])}, "no answers"),
    ("cpp-tensorrt", {"cpp_run": changed(lines=['{"golden_images": 8}', "{}"])}, "otherwise"),
    ("dla-fp16", {"build": fallback("conv3")}, "conv3"),
    ("dla-int8", {"build": fallback("head", keep=False)}, "No fewer"),
]


@pytest.mark.parametrize(("name", "lies", "words"), CONTRADICTIONS)
def test_a_board_that_is_not_as_claimed_contradicts(prove, name, lies, words) -> None:
    proof = prove(name, lies=lies)
    found = only(proof)
    assert found.outcome == "contradicted", found
    assert words in found.reason
    assert proof.contradicted


@pytest.mark.parametrize(
    ("name", "info", "words"),
    [
        ("module", {"model": "NVIDIA Jetson AGX Orin"}, "does not list"),
        ("releases", {"tensorrt": "8.6.2"}, "TensorRT"),
        ("releases", {"cuda": None}, "CUDA"),
        ("gpu", {"gpu": None}, "GPU"),
        ("gpu", {"cuda_error": 999}, "999"),
        ("power-mode", {"power_mode": None}, "no power mode"),
        ("dla-cores", {"dla_cores": 0}, "finds 0"),
        ("dla-cores", {"tensorrt": "10.9.0", "dla_cores": 1}, "finds 1"),
    ],
)
def test_a_probe_that_is_not_as_claimed_contradicts(prove, name, info, words) -> None:
    found = only(prove(name, **info))
    assert found.outcome == "contradicted" and words in found.reason, found


@pytest.mark.parametrize(
    ("name", "how", "words"),
    [
        ("gpu", {"gpu_denied": {"path": "/dev/nvmap", "group": "video"}}, "/dev/nvmap"),
        ("build", {"gpu_denied": {"path": "/dev/nvmap", "group": "video"}}, "video"),
        ("build", {"tensorrt": None}, "python3-libnvinfer"),
        ("trtexec", {"trtexec": None}, "trtexec"),
        ("latency", {"clocks": {"locked": False, "governor": "schedutil"}}, "jetson_clocks"),
        ("dla-fp16", {"dla_cores": 0}, "no DLA"),
        ("module", {"l4t": None}, "not a Jetson"),
        ("module", {"l4t": None, "gpu": None}, "no GPU"),
        ("rtx-run", {"gpu": None}, "no GPU"),
        ("power-mode", {"lies": {"board_files": changed(is_root=True)}}, "root"),
        ("power", {"lies": {"power_comparison": changed(tegrastats={})}}, "tegrastats"),
        ("module", {"lies": {"board_files": changed(compatible=[])}}, "no module"),
    ],
)
def test_what_a_board_cannot_show_is_not_run(prove, name, how, words) -> None:
    found = only(prove(name, **how))
    assert found.outcome == "not run" and words in found.reason, found


def test_flags_after_myelin_are_shown_where_strong_typing_failed(prove) -> None:
    lies = {"build": in_manifest(strong_typing_failed="Myelin: no kernel", typing="flags")}
    found = only(prove("flags-after-myelin", lies=lies))
    assert found.outcome == "shown" and found.lines == ["Myelin: no kernel"]
    assert only(prove("fp16-scale-floor", lies=lies)).outcome == "not run"


def test_an_engine_that_decides_otherwise_is_found(prove, tmp_path) -> None:
    class Wrong(FakeBoard):
        def _predict(self, engine: str, images: str, **rest: Any) -> dict[str, Any]:
            import numpy as np

            answer = super()._predict(engine, images, **rest)
            logits = np.load(self.folder / answer["logits"])
            logits[:2] = -logits[:2]
            np.save(self.folder / "wrong.npy", logits)
            return {"logits": self._keep((self.folder / "wrong.npy").read_bytes())}

    (tmp_path / "device").mkdir()
    proof = prove("same-decisions", "fp16-scale-floor", board=Wrong(tmp_path / "device"))
    assert [each.outcome for each in proof.claims] == ["contradicted"] * 2
    assert proof.claims[0].figures["fp32_agreement"] == 0.96


@pytest.mark.parametrize("content", [b"no array", b""])
def test_logits_that_are_no_array_contradict(prove, tmp_path, content) -> None:
    class Broken(FakeBoard):
        def _predict(self, **rest: Any) -> dict[str, Any]:
            return {"logits": self._keep(content)}

    (tmp_path / "device").mkdir()
    found = only(prove("session", board=Broken(tmp_path / "device")))
    assert found.outcome == "contradicted" and "logits" in found.reason


@pytest.mark.parametrize("layers", [[{"name": "a"}], {"a": 1}, "text"])
def test_a_list_of_layers_that_is_none_contradicts(prove, tmp_path, layers) -> None:
    class Broken(FakeBoard):
        def _build(self, **rest: Any) -> dict[str, Any]:
            return {**super()._build(**rest), "layers": self._keep(json.dumps(layers).encode())}

    (tmp_path / "device").mkdir()
    found = only(prove("int8-layers", board=Broken(tmp_path / "device")))
    assert found.outcome == "contradicted" and "layers" in found.reason


def test_memory_that_is_not_given_back_is_found(prove, tmp_path) -> None:
    class Leaking(FakeBoard):
        def _probe(self) -> dict[str, Any]:
            free = 5000 - 40 * self.asked.count("predict")
            return {**self.info, "memory_free_mb": free}

    (tmp_path / "device").mkdir()
    found = only(prove("session", board=Leaking(tmp_path / "device")))
    assert found.outcome == "contradicted" and found.figures["lost_mb"] == 40


def test_what_needs_an_engine_that_could_not_be_built_is_not_run(prove) -> None:
    proof = prove("build", "same-decisions", lies={"build": failing})
    first, second = proof.claims
    assert first.outcome == "contradicted"
    assert second.outcome == "not run" and "FP32 engine could not be built" in second.reason


def test_too_wide_an_interval_is_no_verdict(prove, tmp_path) -> None:
    class Unsteady(FakeBoard):
        def _trtexec_times(self, **rest: Any) -> dict[str, Any]:
            compute = 1.61 * (0.7 if self.asked.count("trtexec_times") % 2 else 1.5)
            return {**super()._trtexec_times(), "compute_ms": compute}

    (tmp_path / "device").mkdir()
    found = only(prove("trtexec-latency", board=Unsteady(tmp_path / "device")))
    assert found.outcome == "not run" and "jetson_clocks" in found.reason


def test_a_device_that_is_not_left_as_it_was_fails(prove, tmp_path) -> None:
    class Changing(FakeBoard):
        def _probe(self) -> dict[str, Any]:
            return {**self.info, "power_mode": {"id": 0, "name": "MAXN_SUPER"}}

    (tmp_path / "device").mkdir()
    proof = prove("module", board=Changing(tmp_path / "device"))
    assert only(proof).outcome == "shown"
    assert proof.contradicted, "the power mode is another one"
