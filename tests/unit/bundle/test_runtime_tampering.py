"""Bundles that were damaged, altered or made to harm."""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colour_bundle import (
    SIDE,
    Pack,
    as_older,
    colour_model,
    contents_of,
    npy,
    solid,
    with_engine,
    with_manifest,
    with_member,
    write_zip,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tmkd_deploy.errors import DataError
from tmkd_deploy.runtime import BundleError, load, verify
from tmkd_deploy.runtime.archive import MAXIMUM_BYTES, read_archive

MADE_FOR = {"release": "10.3.0.30", "compute_capability": 87, "dla_core": None}
BUILD = {
    "onnx": "engine-0.onnx",
    "precision": "int8",
    "typing": "strong",
    "workspace_mb": 512,
    "dla_core": None,
}


def refuses(path: Path, match: str) -> None:
    for use in (verify, load):
        with pytest.raises(BundleError, match=match) as caught:
            use(path)
        assert caught.value.where == str(path)
        assert caught.value.problem.endswith(".")
        assert caught.value.advice.endswith(".")


def test_one_flipped_byte_in_the_engine(bundle: Path) -> None:
    raw = bytearray(bundle.read_bytes())
    raw[raw.index(colour_model()) + 40] ^= 1
    bundle.write_bytes(raw)
    refuses(bundle, "not a complete zip file")


def test_an_engine_replaced_by_another_with_its_zip_entry(bundle: Path) -> None:
    members = contents_of(bundle)
    engine = bytearray(members["engine-0.onnx"])
    engine[-1] ^= 1
    write_zip(bundle, list((members | {"engine-0.onnx": bytes(engine)}).items()))
    refuses(bundle, r"'engine-0\.onnx' was altered")
    with pytest.raises(BundleError, match="was altered"):
        load(bundle, verify=False)  # only the golden images are left out


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_flipped_byte_passes_unseen(bundle: Path, data: st.DataObject) -> None:
    original = read_archive(bundle)
    raw = bytearray(bundle.read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    flipped = bundle.with_suffix(".flipped")
    flipped.write_bytes(raw)
    try:
        read = read_archive(flipped)
    except BundleError as error:
        assert error.problem.startswith("The bundle cannot be used: it")
        return
    # What the zip format does not use, a time stamp say, may differ; what runs may not.
    assert read.members == original.members
    assert read.manifest == original.manifest


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_truncated_bundle_is_refused(bundle: Path, data: st.DataObject) -> None:
    raw = bundle.read_bytes()
    truncated = bundle.with_suffix(".truncated")
    truncated.write_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
    with pytest.raises(BundleError):
        read_archive(truncated)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=400))
def test_noise_is_refused(tmp_path: Path, noise: bytes) -> None:
    path = tmp_path / "noise.tmkd"
    path.write_bytes(noise)
    with pytest.raises(BundleError):
        read_archive(path)


@pytest.mark.parametrize(
    "name", ["../engine.onnx", "/etc/passwd", "a/b", "a\\b", "C:engine", "..", ".hidden", "folder/"]
)
def test_a_name_that_leads_elsewhere(bundle: Path, name: str) -> None:
    write_zip(bundle, [*contents_of(bundle).items(), (name, b"")])
    refuses(bundle, "does not have a plain file name")


def test_a_declared_name_that_leads_elsewhere(bundle: Path) -> None:
    entry = {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    with_manifest(bundle, lambda document: document["files"].update({"../x": entry}))
    refuses(bundle, "'files'")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice(bundle: Path) -> None:
    write_zip(bundle, [*contents_of(bundle).items(), ("engine-0.onnx", b"another")])
    refuses(bundle, r"'engine-0\.onnx' twice")


def test_a_symbolic_link(bundle: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    write_zip(bundle, [*contents_of(bundle).items(), (link, b"/etc/passwd")])
    refuses(bundle, "not a regular file")


def test_an_undeclared_member(bundle: Path) -> None:
    write_zip(bundle, [*contents_of(bundle).items(), ("extra.bin", b"x")])
    refuses(bundle, r"its manifest does not declare its member 'extra\.bin'")


@pytest.mark.parametrize("name", ["engine-0.onnx", "golden_inputs-0.npy"])
def test_a_missing_member(bundle: Path, name: str) -> None:
    members = contents_of(bundle)
    del members[name]
    write_zip(bundle, list(members.items()))
    refuses(bundle, f"{name}' is missing")


def test_a_missing_manifest(bundle: Path) -> None:
    members = contents_of(bundle)
    del members["manifest.json"]
    write_zip(bundle, list(members.items()))
    refuses(bundle, r"no manifest\.json")


def test_a_compressed_bomb(bundle: Path) -> None:
    members = contents_of(bundle)
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("zeros.bin", bytes(50_000_000))
    assert bundle.stat().st_size < 200_000
    refuses(bundle, "compressed or encrypted")


def test_members_that_claim_more_than_there_is(bundle: Path) -> None:
    raw = bundle.read_bytes()
    size = len(colour_model()).to_bytes(4, "little")
    huge = (1_500_000_000).to_bytes(4, "little")
    bundle.write_bytes(raw.replace(size + size, huge + huge))
    refuses(bundle, "more bytes than it has")


def test_a_file_larger_than_any_bundle_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.tmkd"
    with path.open("wb") as stream:
        os.truncate(stream.fileno(), MAXIMUM_BYTES + 1)  # sparse: it takes no room
    refuses(path, "larger than 2 GiB")


def test_no_file_and_no_folder_is_a_bundle(tmp_path: Path) -> None:
    refuses(tmp_path / "absent.tmkd", "cannot be read")
    refuses(tmp_path, "cannot be read")


@pytest.mark.parametrize("text", [b"", b"\xff", b"[]", b"null", b"{", b"[" * 100_000])
def test_a_manifest_that_is_not_a_json_object(bundle: Path, text: bytes) -> None:
    members = contents_of(bundle) | {"manifest.json": text}
    write_zip(bundle, list(members.items()))
    refuses(bundle, "manifest is not")


def test_a_later_format_says_so(bundle: Path) -> None:
    with_manifest(bundle, lambda document: document.update(format_version=4))
    refuses(bundle, "format version is 4")


SHARED = ["name", "class_names", "input", "output", "tool_version", "files", "engines"]
OF_AN_ENGINE = ["target", "runtime", "precision", "engine", "golden", "gate"]


@pytest.mark.parametrize("key", [*SHARED, *OF_AN_ENGINE])
@pytest.mark.parametrize("value", [None, True, [], {}, 7])
def test_a_manifest_with_a_wrong_value(bundle: Path, key: str, value: Any) -> None:
    change = with_manifest if key in SHARED else with_engine
    change(bundle, lambda document: document.update({key: value}))
    refuses(bundle, "manifest's '")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("key", [*SHARED[:-1], *OF_AN_ENGINE])
@pytest.mark.parametrize("value", [None, True, [], {}, 7])
def test_an_older_manifest_with_a_wrong_value(
    bundle: Path, version: int, key: str, value: Any
) -> None:
    with_manifest(as_older(bundle, version), lambda document: document.update({key: value}))
    refuses(bundle, "manifest's '")


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["input"].update(layout="NCHW"),
        lambda document: document["input"].update(height=0),
        lambda document: document["input"].update(resize="stretch"),
        lambda document: document["input"].update(resize=["crop"]),
        lambda document: document["input"].pop("resize"),
        lambda document: document["input"].update(grayscale=1),
        lambda document: document["input"].pop("grayscale"),
        lambda document: document["files"]["engine-0.onnx"].update(sha256="0"),
        lambda document: document["files"]["engine-0.onnx"].update(bytes=-1),
        lambda document: document.update(class_names=["red", "green", 3]),
    ],
)
def test_a_manifest_with_a_wrong_detail(
    bundle: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    with_manifest(bundle, change)
    refuses(bundle, "manifest's '")


@pytest.mark.parametrize(
    "change",
    [
        lambda engine: engine.update(engine="golden_preprocessed.npy"),
        lambda engine: engine.update(engine="golden_inputs-0.npy"),
        lambda engine: engine.update(engine="absent.onnx"),
        lambda engine: engine["golden"].update(tolerance=-1),
        lambda engine: engine["golden"].update(inputs="absent.npy"),
        lambda engine: engine["golden"].pop("outputs"),
        lambda engine: engine["gate"].update(outcome="splendid"),
        lambda engine: engine.update(threads=0),
        lambda engine: engine.update(made_for=7),
        lambda engine: engine.update(made_for={**MADE_FOR, "release": "ten"}),
        lambda engine: engine.update(made_for={**MADE_FOR, "release": "10.3.0 "}),
        lambda engine: engine.update(made_for={**MADE_FOR, "release": "1" * 20 + ".3"}),
        lambda engine: engine.update(made_for={**MADE_FOR, "release": 10.3}),
        lambda engine: engine.update(made_for={**MADE_FOR, "compute_capability": "87"}),
        lambda engine: engine.update(made_for={**MADE_FOR, "compute_capability": 8}),
        lambda engine: engine.update(made_for={**MADE_FOR, "compute_capability": 8700}),
        lambda engine: engine.update(made_for={**MADE_FOR, "dla_core": -1}),
        lambda engine: engine.update(made_for={**MADE_FOR, "dla_core": True}),
        lambda engine: engine.update(made_for={"release": "10.3.0"}),
        lambda engine: engine.update(build=[]),
        lambda engine: engine.update(build={**BUILD, "onnx": "absent.onnx"}),
        lambda engine: engine.update(build={**BUILD, "onnx": None}),
        lambda engine: engine.update(build={**BUILD, "precision": "int4"}),
        lambda engine: engine.update(build={**BUILD, "typing": "weak"}),
        lambda engine: engine.update(build={**BUILD, "workspace_mb": 0}),
        lambda engine: engine.update(build={**BUILD, "workspace_mb": 1 << 21}),
        lambda engine: engine.update(build={**BUILD, "dla_core": 16}),
    ],
)
def test_an_engine_with_a_wrong_detail(
    bundle: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    with_engine(bundle, lambda engine: engine.update(made_for=MADE_FOR, build=BUILD))
    assert verify(bundle).executed
    with_engine(bundle, change)
    refuses(bundle, "manifest's '")


@pytest.mark.parametrize("count", [0, 17])
def test_a_number_of_engines_that_no_bundle_has(bundle: Path, count: int) -> None:
    with_manifest(bundle, lambda document: document.update(engines=document["engines"] * count))
    refuses(bundle, "manifest's 'engines'")


def test_an_engine_that_computes_something_else(bundle: Path) -> None:
    swapped = np.eye(3, dtype=np.float32)[[1, 0, 2]] / 16
    with_member(bundle, "engine-0.onnx", colour_model(swapped))
    refuses(bundle, "computes different results on this machine")
    assert load(bundle, verify=False).predict(solid("red")).label == "green"


def test_an_engine_that_computes_nearly_the_same(bundle: Path) -> None:
    nearly = np.eye(3, dtype=np.float32) / 16.1
    with_member(bundle, "engine-0.onnx", colour_model(nearly))
    refuses(bundle, "logit differs by 0.08")
    with_engine(bundle, lambda engine: engine["golden"].update(tolerance=0.1))
    assert 0.08 < (verify(bundle).engines[0].largest_difference or 0) < 0.09


def test_the_same_class_is_asked_for_however_wide_the_tolerance(bundle: Path) -> None:
    with_engine(bundle, lambda engine: engine["golden"].update(tolerance=1000.0))
    assert verify(bundle).executed
    swapped = np.eye(3, dtype=np.float32)[[1, 0, 2]] / 16
    with_member(bundle, "engine-0.onnx", colour_model(swapped))
    refuses(bundle, "golden image 0 is now 'green' instead of 'red'")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        npy(np.zeros((3, SIDE, SIDE, 3), np.float32)),
        npy(np.zeros((0, SIDE, SIDE, 3), np.uint8)),
        npy(np.zeros((3, SIDE, SIDE + 1, 3), np.uint8)),
        npy(np.zeros((3, SIDE, SIDE, 3), np.uint8))[:-1],
        npy(np.zeros((3, SIDE, SIDE, 3), np.uint8)).replace(b"(3, 8", b"(3000000, 8"),
        npy(np.zeros((3, SIDE, SIDE, 3), np.uint8)).replace(b"(3, 8", b"(True, 8"),
        npy(np.zeros((), np.uint8)),
        npy(np.array(["text"])),
    ],
)
def test_golden_images_that_are_not_what_they_should_be(bundle: Path, content: bytes) -> None:
    with_member(bundle, "golden_inputs-0.npy", content)
    refuses(bundle, "golden images")


def test_a_pickled_array_is_never_opened(bundle: Path, tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "harm",))

    content = npy(np.array([Harm()], dtype=object))
    with_member(bundle, "golden_outputs-0.npy", content)
    refuses(bundle, "not numpy arrays")
    assert not (tmp_path / "harm").exists()


def test_golden_logits_that_are_not_numbers(pack_colours: Pack) -> None:
    with pytest.raises(DataError, match="golden images and logits do not match"):
        pack_colours(golden_logits=np.full((3, 3), np.nan, np.float32))
