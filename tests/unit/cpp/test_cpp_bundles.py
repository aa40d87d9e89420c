"""The C++ runtime accepts sound bundles of every version, and refuses what Python's refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colour_bundle import COLOURS, packed, solid, with_manifest
from cpp_build import Built
from format_versions import BUILD, MADE_FOR, PLAN, as_version, with_engines
from hostile_bundles import HOSTILE, copies, overlapping

from tmkd_deploy.runtime import BundleError, load
from tmkd_deploy.runtime.manifest import READABLE_VERSIONS

VERSIONS = (1, 2, 3)
DAMAGED = 150


@pytest.mark.parametrize("version", VERSIONS)
def test_a_sound_bundle_loads_in_every_version(built: Built, bundle: Path, version: int) -> None:
    as_version(bundle, version)
    (verdict,) = built.verdicts_on_files("load", [bundle])
    assert verdict == "ok cpu onnxruntime fp32"


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("version", [2, 3])
def test_a_hostile_bundle_is_refused(
    built: Built, bundle: Path, version: int, tmp_path: Path
) -> None:
    as_version(bundle, version)
    spoilt = copies(bundle, tmp_path)
    assert len(spoilt) == len(HOSTILE)
    verdicts = built.verdicts_on_files("load", list(spoilt.values()))
    for (name, path), verdict in zip(spoilt.items(), verdicts, strict=True):
        if version in READABLE_VERSIONS:
            with pytest.raises(BundleError):
                load(path)
        what, _, words = verdict.partition(": ")
        assert what in ("BundleError", "RuntimeMissingError"), (name, verdict)
        assert words.startswith(f"{path}: ") and words.endswith("."), (name, verdict)
        assert words.isprintable() and len(words) < 600, (name, verdict)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("noise", "it is not a complete zip file"),
        ("flipped", "it is not a complete zip file"),
        ("replaced", "its file 'engine.onnx' was altered after the bundle was made"),
        ("compressed", "is compressed or encrypted"),
        ("encrypted", "is compressed or encrypted"),
        ("exaggerated", "its members claim more bytes than it has"),
        ("enormous", "it is larger than 2 GiB"),
        ("pipe", "it is a pipe or a device, not a regular file"),
        ("absent", "cannot be read: No such file or directory"),
        ("member '../x'", "its member '../x' does not have a plain file name"),
        ("undeclared", "its manifest does not declare its member 'extra.bin'"),
        ("link", "its member 'link' is not a regular file"),
        ("later", "its format version is 99"),
        ("other engine", "The engine computes different results on this machine"),
        ("golden logits", "its golden images and logits do not match its manifest"),
        ("no engine", "its engine is not an ONNX model"),
    ],
)
def test_what_is_wrong_is_said(built: Built, bundle: Path, name: str, says: str) -> None:
    as_version(bundle, 2)
    HOSTILE[name](bundle)
    (verdict,) = built.verdicts_on_files("load", [bundle])
    assert says in verdict


def test_a_member_inside_another_is_refused(built: Built, bundle: Path) -> None:
    (verdict,) = built.verdicts_on_files("load", [overlapping(as_version(bundle, 2))])
    assert "its member 'inner.bin' overlaps another" in verdict


def test_no_flipped_byte_passes_unseen(built: Built, bundle: Path, tmp_path: Path) -> None:
    as_version(bundle, 3)
    whole = bundle.read_bytes()
    (original,) = built.verdicts_on_files("read", [bundle])
    assert original.count("=") == 4
    random = np.random.default_rng(0)
    paths = []
    for number in range(DAMAGED):
        raw = bytearray(whole)
        raw[random.integers(len(raw))] ^= random.integers(1, 256)
        paths.append(tmp_path / f"flipped-{number}.tmkd")
        paths[-1].write_bytes(raw)
        paths.append(tmp_path / f"truncated-{number}.tmkd")
        paths[-1].write_bytes(whole[: random.integers(len(whole))])
    verdicts = built.verdicts_on_files("read", paths)
    for path, verdict in zip(paths, verdicts, strict=True):
        # what the zip format does not use, a time stamp say, may differ
        may_pass = path.name.startswith("flipped")
        assert verdict.startswith("BundleError: ") or (may_pass and verdict == original), verdict
    assert sum(verdict.startswith("BundleError: ") for verdict in verdicts) > DAMAGED


def test_a_control_code_never_reaches_a_class_name(built: Built, bundle: Path) -> None:
    for name in ("łódź", "می‌خواهم", "红 色", "🟢"):
        with_manifest(
            bundle, lambda whole, name=name: whole.update(class_names=[*COLOURS[:2], name])
        )
        assert built.verdicts_on_files("load", [bundle])[0].startswith("ok ")


def three_engines(bundle: Path) -> Path:
    """Two plans, the second for the DLA and without a way to build it, and ONNX."""
    dla = MADE_FOR | {"dla_core": 1}
    return with_engines(
        as_version(bundle, 3),
        [
            {"target": "gpu", **PLAN, "build": BUILD},
            {"target": "dla", **PLAN, "made_for": dla},
            {"target": "cpu"},
        ],
    )


@pytest.mark.parametrize(
    ("machine", "chosen"),
    [
        (("onnxruntime",), "ok cpu"),
        (("onnxruntime", "10.3.0.30", "87", "0"), "ok gpu"),
        (("onnxruntime", "10.3.0.30", "87", "2", "1"), "ok dla"),
        (("onnxruntime", "10.3.0.30", "87", "2", "2"), "ok cpu"),
        (
            ("onnxruntime", "10.3.0.30", "87", "2", "3"),
            "(gpu: it fails; dla: it fails; cpu: it fails)",
        ),
        (("onnxruntime", "10.3.0.31", "87", "2"), "ok cpu"),
        (("onnxruntime", "10.3.0.30", "86", "2"), "ok cpu"),
        (("none", "8.5.2.2", "72", "2"), "Build it on this machine: tmkd-deploy bundle install /"),
        (("none", "8.5.2.2", "72", "2"), "runs on TensorRT 10.3.0.30 only, and this is 8.5.2.2"),
        (("none", "10.3.0.30", "72", "2"), "of compute capability 87 only, and this one has 72"),
        (("none",), "gpu: there is no GPU; dla: there is no GPU; cpu: this program was built"),
    ],
)
def test_the_first_engine_that_can_run_is_chosen(
    built: Built, bundle: Path, machine: tuple[str, ...], chosen: str
) -> None:
    (verdict,) = built.verdicts_on_files("choose", [three_engines(bundle)], *machine)
    assert chosen in verdict
    assert verdict.startswith("ok ") or verdict.startswith("RuntimeMissingError: ")


@pytest.mark.parametrize(
    ("release", "dla_cores", "chosen"),
    [("10.3.0.30", "2", "ok dla"), ("10.3.0.30", "1", "DLA core 1"), ("10.3.1.5", "2", "Tensor")],
)
def test_a_plan_for_the_dla_needs_its_core(
    built: Built, bundle: Path, release: str, dla_cores: str, chosen: str
) -> None:
    made_for: dict[str, Any] = {"release": "10.3.0", "compute_capability": 87, "dla_core": 1}
    plan = {"target": "dla", "runtime": "tensorrt", "made_for": made_for}
    with_engines(as_version(bundle, 3), [plan])
    (verdict,) = built.verdicts_on_files("choose", [bundle], "none", release, "87", dla_cores)
    assert chosen in verdict


@pytest.mark.parametrize(
    "change",
    [
        {"made_for": MADE_FOR | {"release": "ten"}},
        {"made_for": MADE_FOR | {"release": "10"}},
        {"made_for": MADE_FOR | {"release": "10.3.0.30.1"}},
        {"made_for": MADE_FOR | {"compute_capability": 8.7}},
        {"made_for": MADE_FOR | {"dla_core": 16}},
        {"build": BUILD | {"onnx": "absent.onnx"}},
        {"build": BUILD | {"precision": "fp8"}},
        {"build": BUILD | {"typing": '","x":"'}},
        {"build": BUILD | {"workspace_mb": 0}},
        {"build": []},
        {"golden": {"tolerance": 0.1, "inputs": "golden_inputs.npy"}},
        {"decision": None},
    ],
)
def test_an_engine_with_a_wrong_detail(built: Built, bundle: Path, change: dict[str, Any]) -> None:
    with_engines(as_version(bundle, 3), [PLAN | {"build": BUILD} | change])
    (verdict,) = built.verdicts_on_files("choose", [bundle], "none", "10.3.0.30", "87", "0")
    assert verdict.startswith("BundleError: ") and "is missing or invalid" in verdict


@pytest.mark.parametrize("count", [0, 17])
def test_a_bundle_has_1_to_16_engines(built: Built, bundle: Path, count: int) -> None:
    with_engines(as_version(bundle, 3), [{}] * count)
    (verdict,) = built.verdicts_on_files("load", [bundle])
    assert "'engines' is missing or invalid" in verdict


def test_an_engine_for_another_runtime_is_passed_over(built: Built, bundle: Path) -> None:
    changes = [{"target": "gpu", **PLAN}, {"target": "rtx", "runtime": "tensorrt_rtx"}, {}]
    with_engines(as_version(bundle, 3), changes)
    assert built.verdicts_on_files("load", [bundle]) == ["ok cpu onnxruntime fp32"]
    with_engines(as_version(packed(bundle.parent / "other")[0], 3), changes[:2])
    (verdict,) = built.verdicts_on_files("load", [bundle.parent / "other" / bundle.name])
    assert verdict.startswith("RuntimeMissingError: ")
    assert "without TensorRT; rtx: it needs the runtime 'tensorrt_rtx'" in verdict


def test_a_plan_that_does_not_say_what_for_is_not_run(built: Built, bundle: Path) -> None:
    as_version(bundle, 2)
    with_manifest(bundle, lambda whole: whole.update(runtime="tensorrt"))
    here = ("none", "10.3.0.30", "87", "0")
    (verdict,) = built.verdicts_on_files("choose", [bundle], *here)
    assert "does not say which TensorRT and GPU" in verdict


def test_images_in_other_layouts_and_from_several_threads(built: Built, bundle: Path) -> None:
    built.probe("layouts", str(bundle))


def test_misuse_is_refused(built: Built, bundle: Path) -> None:
    *images, many, negative = built.probe("misuse", str(bundle)).decode().splitlines()
    assert [line.split(":")[0] for line in images] == ["ImageError"] * 6
    assert many.startswith("ArgumentError: The number of threads is 257.")
    assert negative.startswith("ArgumentError: The number of threads is -1.")


def test_the_colours_are_told_apart(built: Built, bundle: Path) -> None:
    model = load(bundle)
    given = b""
    for colour in COLOURS:
        given += (
            np.array([20, 30], "<i4").tobytes() + np.resize(solid(colour), (20, 30, 3)).tobytes()
        )
    record = np.dtype([("index", "<f8"), ("confidence", "<f8"), ("logits", "<f4", 3)])
    found = np.frombuffer(built.probe("predict", str(bundle), given=given), record)
    for colour, one in zip(COLOURS, found, strict=True):
        expected = model.predict(np.resize(solid(colour), (20, 30, 3)))
        assert model.class_names[int(one["index"])] == expected.label
        assert one["confidence"] == pytest.approx(expected.confidence, abs=1e-12)
        np.testing.assert_array_equal(one["logits"], expected.logits)
