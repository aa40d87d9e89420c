"""Files that a run folder or a recipe names: artifacts, summaries, checkpoints, embeddings."""

from __future__ import annotations

import functools
import io
import json
import struct
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from invariants import ViolatedError, command
from mutations import JSON_NOISE, Field, json_texts, mutated, trees

from fuzzed.target import Attempts, Target, tmkd_errors

CONTENT = b"some logits"


def write_artifact(folder: Path) -> None:
    from colour_bundle import measurements

    from tmkd_deploy import artifacts

    with artifacts.writing(folder, kind="measure", fingerprint="f" * 64, inputs={}) as draft:
        (draft.folder / "logits-fp32.npy").write_bytes(CONTENT)
        draft.record = measurements()


@functools.cache
def _manifest() -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        write_artifact(Path(folder) / "measure")
        return json.loads((Path(folder) / "measure" / "manifest.json").read_text())


@st.composite
def _manifests(draw: st.DrawFn) -> tuple[bytes, bool]:
    """A manifest, and whether it is sealed again."""
    if draw(st.integers(0, 2)) == 0:
        return draw(json_texts(_manifest())), False
    manifest = draw(trees(_manifest()))
    if (
        isinstance(manifest, dict)
        and isinstance(manifest.get("files"), dict)
        and draw(st.booleans())
    ):
        entry = {"sha256": "0" * 64, "bytes": 17}
        names = [
            "../../canary/secret",
            "/etc/passwd",
            "..",
            "",
            ".",
            "a\0b",
            "manifest.json",
            "\ud800",
        ]
        manifest["files"][draw(st.sampled_from(names))] = entry
    return json.dumps(manifest).encode(), True


def _try_manifest(case: tuple[bytes, bool], folder: Path) -> Attempts:
    from tmkd_deploy import artifacts
    from tmkd_deploy.records.measurements import Measurements

    content, seal = case
    place = folder / "measure"
    place.mkdir()
    (place / "logits-fp32.npy").write_bytes(CONTENT)
    (place / "manifest.json").write_bytes(_sealed(content) if seal else content)

    def read() -> None:
        artifact = artifacts.read(place, "measure", Measurements)
        for name in artifact.manifest.files:
            path = artifact.path(name)
            if path.parent.resolve() != place.resolve():
                raise ViolatedError("touched", f"{name!r} is accepted", "artifacts.py")

    yield read
    yield lambda: artifacts.is_fresh(place, "f" * 64)
    yield lambda: artifacts.read_manifest(place)


def _sealed(content: bytes) -> bytes:
    from tmkd_deploy.artifacts import Manifest

    try:
        manifest = Manifest.model_validate_json(content)
        sealed = manifest.model_copy(update={"seal": manifest.expected_seal()})
        return sealed.model_dump_json().encode()
    except ValueError:  # it is refused for another reason than its seal
        return content


@functools.cache
def _summary() -> Any:
    from report_fixture import cpu_target, rtx_target, run_report

    from tmkd_deploy.report.json import Json

    return json.loads(Json().render(run_report(cpu_target(), rtx_target())))


def _summaries() -> st.SearchStrategy[bytes]:
    return json_texts(_summary())


def _try_summary(content: bytes, folder: Path) -> Attempts:
    before, after = folder / "before.json", folder / "after.json"
    before.write_text(json.dumps(_summary()))
    after.write_bytes(content)
    yield lambda: command("compare", str(before), str(after))
    yield lambda: command("compare", "--json", str(after), str(before))


@functools.cache
def _state() -> Any:
    import torch

    return {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}


@functools.cache
def _torch_files() -> list[bytes]:
    import torch

    files = []
    for value in (_state(), {"state_dict": _state(), "epoch": 3}, [_state()], {"weight": 1}):
        for zipped in (True, False):
            stream = io.BytesIO()
            torch.save(value, stream, _use_new_zipfile_serialization=zipped)
            files.append(stream.getvalue())
    return files


@functools.cache
def _safetensors() -> bytes:
    from safetensors.torch import save

    return bytes(save(_state()))


EVIL = [
    b"cos\nsystem\n(S'id'\ntR.",
    b"\x80\x02cposix\nsystem\nq\x00X\x02\x00\x00\x00idq\x01\x85q\x02Rq\x03.",
    b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.",
    *(
        b"a line of text\n",
        b"<html>404</html>",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"",
    ),
    *(
        b"\x80\x02.",
        b"\x80\x02]q\x00.",
        b"\x80\x02}q\x00(",
        b"(" * 5000 + b".",
        b"\x80\x02N.",
        b"PK\5\6",
    ),
    *(
        b"\x80\x02" + b"]" * 3000 + b"a" * 2999 + b".",
        b"\x80\x09.",
        b"I999\n.",
        b"L" + b"9" * 6000 + b"L\n.",
    ),
]


@st.composite
def _weights(draw: st.DrawFn) -> tuple[str, bytes]:
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from([".pth", ".safetensors"])), draw(st.sampled_from(EVIL))
    if draw(st.booleans()):
        raw = draw(st.sampled_from(_torch_files()))
        pieces = [*EVIL[:3], b"cos\nsystem\n", b"R", b"b", b"}", b"ctorch\nload\n", b"Q", b"i"]
        return ".pth", draw(mutated(raw, pieces=pieces))
    raw = _safetensors()
    if draw(st.booleans()):
        return ".safetensors", draw(mutated(raw, [Field(0, 8)]))
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    header["__metadata__"] = {"class_names": '["a", "b"]'}
    text = draw(json_texts(header) | st.sampled_from(JSON_NOISE))
    return ".safetensors", struct.pack("<Q", len(text)) + text + raw[8 + length :]


def _try_weights(case: tuple[str, bytes], folder: Path) -> Attempts:
    from torch import nn

    from tmkd_deploy.distill.text_embeddings import read_embeddings
    from tmkd_deploy.models import weights
    from tmkd_deploy.training.checkpoint import Checkpoints

    suffix, content = case
    path = folder / f"weights{suffix}"
    path.write_bytes(content)
    yield lambda: weights.read_checkpoint(path)
    yield lambda: weights.load(nn.Linear(3, 2), path)
    if suffix == ".safetensors":
        embeddings = path

        def embedded() -> None:
            from tmkd_deploy.errors import DataError

            try:
                read_embeddings(embeddings, ["a", "b"])
            except DataError as error:
                if not error.problem.endswith("."):
                    raise

        yield embedded
    else:
        checkpoint = Checkpoints(folder, "distill", "f" * 64).for_training("a")
        checkpoint.path.write_bytes(content)
        yield checkpoint.read


def _sound_weights() -> tuple[str, bytes]:
    return ".safetensors", _safetensors()


TARGETS = [
    Target(
        "artifact manifests",
        _manifests,
        lambda: (json.dumps(_manifest()).encode(), True),
        _try_manifest,
        tmkd_errors,
        share=4,
        needs=("onnx",),
    ),
    Target(
        "run summaries",
        _summaries,
        lambda: json.dumps(_summary()).encode(),
        _try_summary,
        tmkd_errors,
        share=2,
    ),
    Target(
        "checkpoints",
        _weights,
        _sound_weights,
        _try_weights,
        tmkd_errors,
        share=4,
        needs=("torch", "safetensors", "timm"),
    ),
]
