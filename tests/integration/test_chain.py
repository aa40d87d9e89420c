"""The whole chain through the command line, on real images: from a recipe to gated bundles."""

from __future__ import annotations

import json
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
from project import HAS_RTX, TARGETS, Project

from tmkd_deploy.runtime import MadeFor, load
from tmkd_deploy.runtime.archive import read_archive

needs_rtx = pytest.mark.skipif(not HAS_RTX, reason="the package tensorrt_rtx is not installed")

LEDGER = {"teacher", "student_baseline", "student", "fake_quantized", "onnx", "engine"}


@pytest.fixture(scope="module")
def summary(complete):
    project, done = complete
    assert done.code == 0, done.told
    return json.loads((project.run_folder / "summary.json").read_text(encoding="utf-8"))


def test_a_complete_run_ends_with_its_tables(complete) -> None:
    project, done = complete
    assert done.code == 0, done.told
    others = ", ".join(sorted({*TARGETS} - {"cpu"}, key=TARGETS.index))
    verdict = f"Verdict: ✓ passed: 1 passed (cpu), {len(TARGETS) - 1} not judged ({others})."
    for words in (
        *("cpu: accuracy", "p50", "cpu: gate ✓ passed", "Next: open runs/small/report"),
        *(verdict, "Nobody has run the INT8 engine."),
    ):
        assert words in done.out
    assert "Distillation gained" in done.err
    assert "Traceback" not in done.err
    assert project.drafts() == []


def test_the_summary_covers_every_target(summary) -> None:
    assert summary["outcome"] == "passed"
    assert set(summary["targets"]) == set(TARGETS)
    images = [summary["data"][f"{split}_images"] for split in ("train", "val", "test")]
    assert images == [102, 18, 42]
    assert summary["data"]["drawn_splits"] == ["val"]
    assert "Chosen on validation, judged on test" in summary["data"]["split_note"]
    assert summary["teacher"]["parameters"] > summary["student"]["parameters"]


def test_the_summary_says_what_was_decided_on_the_fused_teacher(complete, summary) -> None:
    fusion = summary["fusion"]
    parts = ["softness", "view weights", "text weights", "text share"]
    assert [each["part"] for each in fusion["decisions"]] == parts
    for decision, sentence in zip(fusion["decisions"], fusion["sentences"], strict=True):
        assert decision["images"] == summary["data"]["val_images"]
        gained = decision["nll_before"] - decision["nll_after"]
        assert decision["taken"] == (gained > decision["standard_error"])
        assert f"Fused teacher, {sentence}." in complete[1].err


@pytest.mark.parametrize("target", TARGETS)
def test_each_target_has_ledger_sizes_budgets_and_verdict(summary, target) -> None:
    found = summary["targets"][target]
    ran = target == "cpu"
    representations = {row["representation"] for row in found["ledger"]}
    assert representations == (LEDGER if ran else LEDGER - {"engine"})
    for row in found["ledger"]:
        low, high = row["top1_interval"]
        assert 0 <= low <= row["top1"] <= high <= 1
        assert (row["compared_with"] is None) is (row["representation"] == "teacher")
    assert found["engines"]
    for engine in found["engines"]:
        assert engine["bytes"] > 0 and len(engine["sha256"]) == 64
    assert found["verdict"]["outcome"] == ("passed" if ran else "not_judged")
    budgets = {check["budget"] for check in found["verdict"]["checks"]}
    expected = {"cpu": {"accuracy", "engine_size_mb"}, "rtx-ada": {"engine_size_mb"}}
    assert budgets == expected.get(target, set())
    assert sum(map(sum, found["confusion"])) == (42 if ran else 0)
    assert found["test_images"] == 42


def test_the_engines_have_learnt_and_agree(summary) -> None:
    ledger = summary["targets"]["cpu"]["ledger"]
    assert all(row["top1"] >= 0.6 for row in ledger)
    for row in ledger:
        if row["representation"] in ("onnx", "engine"):
            assert row["agreement_with_compared"] >= 0.9


def test_teacher_and_students_are_timed_in_one_run(summary) -> None:
    latency = summary["targets"]["cpu"]["latency"]
    assert {row["engine"] for row in latency["rows"]} == {"teacher", "int8", "fp32"}
    for row in latency["rows"]:
        assert row["runs"] >= 40
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"]
        low, high = row["p50_interval_ms"]
        assert low <= row["p50_ms"] <= high
    pairs = {(ratio["numerator"], ratio["denominator"]) for ratio in latency["ratios"]}
    assert ("teacher", "int8") in pairs or ("int8", "teacher") in pairs
    assert latency["machine"] and latency["protocol"]


def test_the_fastest_engine_ships_and_says_why(summary) -> None:
    found = summary["targets"]["cpu"]
    medians = {row["engine"]: row["p50_ms"] for row in found["latency"]["rows"]}
    shipped = found["shipped"]["engine"]
    assert shipped == min(("int8", "fp32"), key=medians.__getitem__)
    assert found["shipped"]["p50_ms"] == medians[shipped]
    assert shipped.upper() in found["shipped"]["reason"]


def test_floating_point_engines_are_built_although_only_int8_may_ship(summary) -> None:
    for target in set(TARGETS) - {"cpu"}:
        found = summary["targets"][target]
        built = {engine["precision"] for engine in found["engines"]}
        assert built == {"int8", "fp16", "fp32"}
        assert found["shipped"]["engine"] == "int8"


@needs_rtx
def test_the_rtx_engine_has_int8_layers_and_is_honestly_unmeasured(complete, summary) -> None:
    found = summary["targets"]["rtx-ada"]
    engine = next(each for each in found["engines"] if each["precision"] == "int8")
    assert 0 < engine["int8_layers"] <= engine["total_layers"]
    assert found["latency"] is None and "no GPU" in found["not_measured"]
    assert found["bundle"]["bytes"] > engine["bytes"]
    log = complete[0].run_folder / "build" / "rtx-ada"
    assert any("int8" in path.read_text(errors="replace").lower() for path in log.glob("*.json"))


@needs_rtx
def test_the_rtx_bundle_holds_what_it_takes_to_build_it_elsewhere(complete) -> None:
    import tensorrt_rtx

    folder = complete[0].run_folder
    bundle = read_archive(next((folder / "bundle" / "rtx-ada").glob("*.tmkd")))
    (engine,) = bundle.manifest.engines
    assert engine.made_for == MadeFor(tensorrt_rtx.__version__, 89, None)
    assert engine.build is not None
    assert (engine.build.precision, engine.build.typing) == ("int8", "strong")
    models = [path.read_bytes() for path in (folder / "export").glob("*/model.onnx")]
    assert bundle.members[engine.build.onnx] in models


def test_the_report_is_written_in_every_format(complete, summary) -> None:
    folder = complete[0].run_folder
    page = (folder / "report.html").read_text(encoding="utf-8")
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    for target in TARGETS:
        assert target in page and target in markdown
    assert "data:image/" in page
    cases = ElementTree.parse(folder / "junit.xml").findall(".//testcase")
    checks = sum(len(found["verdict"]["checks"]) for found in summary["targets"].values())
    assert len(cases) >= checks
    assert not ElementTree.parse(folder / "junit.xml").findall(".//failure")


def test_the_cpu_bundle_classifies(complete, images) -> None:
    (bundle,) = (complete[0].run_folder / "bundle" / "cpu").glob("*.tmkd")
    model = load(bundle)
    tests = sorted((images / "test").rglob("*.png"))
    right = sum(model.predict(image).label == image.parent.name for image in tests)
    assert right >= 0.6 * len(tests)


def test_a_second_run_reuses_every_stage(project: Project) -> None:
    before = project.content()
    done = project.run("run", "--json")
    assert done.code == 0, done.told
    assert all(done.reused().values()), done.reused()
    assert project.content() == before


def test_a_budget_reruns_gate_bundle_and_report_alone(project: Project) -> None:
    done = project.run("run", "--json", "--set", "targets.cpu.budgets.accuracy=0.55")
    assert done.code == 0, done.told
    rerun = {stage for stage, reused in done.reused().items() if not reused}
    assert rerun == {"gate cpu", "bundle cpu", "report"}


def test_the_schedule_reruns_the_student_and_what_follows(project: Project) -> None:
    # One precision alone, because exporting takes the longest.
    precision = ("--set", "targets.cpu.precisions=[fp32]")
    done = project.run("run", "--json", "--target", "cpu", *precision, "--set", "distill.epochs=7")
    assert done.code in (0, 1), done.told
    reused = {stage for stage, fresh in done.reused().items() if fresh}
    assert reused == {"prepare", "train_teacher", "score_views", "export teacher-fp32"}
    follow = {"distill", "quantize", "export student-fp32", "build cpu", "measure cpu", "gate cpu"}
    assert follow < set(done.reused())


def test_another_visual_teacher_leaves_what_clip_said(partial_project) -> None:
    project = partial_project("prepare", "train_teacher", "score_views")
    shorter = ("teacher.visual.epochs=1", "distill.epochs=1", "distill.baseline=false")
    shorter = (*shorter, "distill.weak_teacher=warn")
    options = [part for setting in shorter for part in ("--set", setting)]
    done = project.run("distill", "--json", *options)
    assert done.code == 0, done.told
    rerun = {stage for stage, reused in done.reused().items() if not reused}
    assert rerun == {"train_teacher", "distill"}


def test_precomputed_embeddings_take_the_place_of_clip(partial_project) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    project = partial_project("prepare", "train_teacher")
    texts = {"texts": np.eye(3, 8, dtype=np.float32)}
    safetensors.save_file(texts, project.folder / "texts.safetensors")
    project.replace("text: {epochs: 1, batch_size: 16}", "text: {embeddings: texts.safetensors}")
    done = project.run("distill", "--json", "--set", "distill.epochs=2")
    assert done.code == 0, done.told
    assert [stage for stage, reused in done.reused().items() if reused] == [
        "prepare",
        "train_teacher",
    ]
    record = project.manifest("score_views")["record"]
    assert record["model"] == "texts.safetensors" and not record["image_tower"]
    fusion = project.manifest("distill")["record"]["fusion"]
    assert len(fusion["decisions"]) == 3 and "no image tower" in fusion["notes"][0]
    safetensors.save_file(
        {"texts": texts["texts"][::-1].copy()}, project.folder / "texts.safetensors"
    )
    done = project.run("distill", "--json", "--set", "distill.epochs=2")
    rerun = [stage for stage, reused in done.reused().items() if not reused]
    assert rerun == ["score_views", "distill"], "the file counts by its content"


def test_force_does_the_commands_own_work_anew(project: Project) -> None:
    done = project.run("gate", "--json", "--force", "--target", "cpu")
    rerun = [stage for stage, reused in done.reused().items() if not reused]
    assert (done.code, rerun) == (0, ["gate cpu"])


def test_distill_then_export_for_jetson_needs_no_further_argument(partial_project) -> None:
    project = partial_project("prepare", "train_teacher", "score_views", "export")
    done = project.run("distill")
    assert done.code == 0, done.told
    assert done.out.endswith("Next: tmkd-deploy quantize\n")
    done = project.run("export", "--target", "jetson")
    assert done.code == 0, done.told
    assert "Jetson Orin Nano builds its own engines" in done.err
    kit = project.run_folder / "build" / "jetson-orin-nano"
    record = project.manifest("build/jetson-orin-nano")["record"]
    assert set(record["kit"]) <= {path.name for path in kit.iterdir()}
    assert any(name.endswith(".onnx") for name in record["kit"])
    script = (kit / "build-int8.sh").read_text(encoding="utf-8")
    assert "trtexec" in script and ".onnx" in script


def test_a_failed_gate_is_exit_code_1(project: Project) -> None:
    budget = "targets.cpu.budgets.latency_p50_ms=0.000001"
    done = project.run("gate", "--target", "cpu", "--set", budget)
    assert done.code == 1, done.told
    assert "cpu: gate ✗ failed" in done.out
    assert "latency_p50_ms" in done.out
    assert done.out.endswith(f"tmkd-deploy report --target cpu --set {budget}\n")
    done = project.run("report", "--target", "cpu", "--set", budget)
    assert done.code == 0, done.told
    report = ElementTree.parse(project.run_folder / "junit.xml")
    assert len(report.findall(".//failure")) == 1


@needs_rtx
def test_an_unmeasured_budget_is_exit_code_3(project: Project) -> None:
    budget = "targets.rtx-ada.budgets.latency_p99_ms=5"
    done = project.run("gate", "--target", "rtx-ada", "--set", budget, "--json")
    assert done.code == 3, done.told
    (verdict,) = (
        stage["record"]["verdict"] for stage in done.json()["stages"] if stage["stage"] == "gate"
    )
    assert verdict["outcome"] == "inconclusive"
    assert "not measured" in verdict["checks"][0]["explanation"]


def test_a_failed_gate_outweighs_an_inconclusive_one(project: Project) -> None:
    done = project.run(
        "gate",
        *("--set", "targets.jetson.budgets.latency_p99_ms=5"),
        *("--set", "targets.cpu.budgets.engine_size_mb=0.000001"),
    )
    assert done.code == 1, done.told


def test_only_judges_what_is_there(project: Project, images) -> None:
    # The settings of training differ from those of the run, and the images are elsewhere.
    project.replace("distill: {epochs: 8", "distill: {epochs: 99")
    project.replace(str(images), "/nowhere")
    done = project.run("gate", "--only", "--json", "--target", "cpu")
    assert done.code == 0, done.told
    assert [stage for stage, reused in done.reused().items() if not reused] == ["gate cpu"]


def test_only_refuses_what_is_not_there(project: Project) -> None:
    shutil.rmtree(project.run_folder / "measure")
    before = project.content()
    done = project.run("gate", "--only", "--target", "cpu")
    assert done.code == 2, done.told
    assert "'measure'" in done.err and "without --only" in done.err
    assert project.content() == before


def test_the_summary_says_how_every_model_was_trained(summary) -> None:
    assert list(summary["training"]) == ["teacher", "distilled", "baseline"]
    for curve in summary["training"].values():
        assert [each["epoch"] for each in curve["epochs"]] == list(range(1, 9))
        assert curve["epochs"][-1]["top1"] is not None and curve["choice"]
    assert summary["teacher"]["weights"] == summary["student"]["weights"] == "none"


def test_two_runs_can_be_compared(project: Project) -> None:
    done = project.run("compare", "runs/small", "runs/small/summary.json")
    assert done.code == 0, done.told
    assert "cpu" in done.out


FAILING = ("--set", "targets.cpu.budgets.latency_p50_ms=0.000001")


def test_a_failed_gate_ships_nothing_unless_asked(project: Project) -> None:
    bundles = project.run_folder / "bundle" / "cpu"
    assert list(bundles.glob("*.tmkd"))
    done = project.run("bundle", "--target", "cpu", *FAILING)
    assert done.code == 1, done.told
    told = " ".join(done.out.split())
    assert "Nothing is bundled for cpu: its gate failed." in told
    assert "engine would have shipped" in told and "engine ships" not in told
    assert not list(bundles.glob("*.tmkd"))
    assert project.manifest("gate/cpu")["record"]["shipped"] is None
    insisted = ("--set", "targets.cpu.despite_verdict=true")
    done = project.run("bundle", "--target", "cpu", *FAILING, *insisted)
    assert done.code == 0, done.told
    (bundle,) = bundles.glob("*.tmkd")
    assert load(bundle).engine.gate == "failed"


def test_a_run_for_one_target_keeps_the_verdict_on_another(project: Project) -> None:
    done = project.run("report", "--target", "cpu", *FAILING)
    assert done.code == 0, done.told
    done = project.run("run", "--target", "jetson", "--json")
    assert done.code == 3, "nothing of the target that was asked for is judged"
    summary = json.loads((project.run_folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["outcome"] == "failed"
    assert summary["targets"]["cpu"]["outcome"] == "failed"
    assert summary["targets"]["cpu"]["judged"] and not summary["targets"]["cpu"]["is_stale"]
    assert summary["targets"]["jetson-orin-nano"]["judged"] is None
    # a target that is judged again needs no earlier verdict
    done = project.run("report", "--target", "cpu", "--target", "jetson")
    summary = json.loads((project.run_folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["outcome"] == "passed"
    assert summary["targets"]["cpu"]["judged"] is None
