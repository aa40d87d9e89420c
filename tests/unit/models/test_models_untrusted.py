"""Model keywords from a recipe, and checkpoints that are not what they seem."""

from __future__ import annotations

import os
import pickle
import resource
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from safetensors.torch import save_file  # noqa: E402

from tmkd_deploy.errors import DataError, RequestError  # noqa: E402
from tmkd_deploy.models import checkpoint_file, model_kwargs  # noqa: E402
from tmkd_deploy.models.checkpoint_file import read_checkpoint  # noqa: E402
from tmkd_deploy.models.classifier import create  # noqa: E402

STATE = {"weight": torch.arange(6.0)}


class Harm:
    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.folder,)


def test_a_keyword_cannot_name_a_checkpoint(tmp_path: Path) -> None:
    path, harm = tmp_path / "evil.pth", tmp_path / "harm"
    path.write_bytes(pickle.dumps(Harm(harm)))
    with pytest.raises(RequestError, match="checkpoint_path") as caught:
        create("test_resnet", 3, {"checkpoint_path": str(path)}, 32, scratch=True)
    assert caught.value.where == "student.model_kwargs.checkpoint_path"
    assert not harm.exists()


@pytest.mark.parametrize(
    "kwargs",
    [
        {"channels": [1 << 20]},
        {"channels": [8] * 100},
        {"channels": []},
        {"channels": [True]},
        {"depth": -1},
        {"mlp_ratio": float("nan")},
        {"drop_rate": 1.0},
        {"drop_rate": [0.1]},
        {"qkv_bias": 1},
        {"act_layer": "os.system"},
        {"act_layer": ["relu"]},
        {"norm_layer": "torch.load"},
    ],
    ids=str,
)
def test_values_are_of_their_kind_and_bounded(kwargs: dict[str, object]) -> None:
    with pytest.raises(RequestError, match="Expected"):
        model_kwargs.check(kwargs)


@pytest.mark.parametrize(
    ("model", "kwargs"),
    [
        ("resnet10t", {"channels": [8, 8, 8, 8], "stem_width": 8, "act_layer": "silu"}),
        ("test_vit", {"img_size": 32, "embed_dim": 32, "num_heads": 2, "depth": 1}),
        ("test_efficientnet", {"drop_rate": 0.1, "act_layer": "relu6"}),
        ("test_convnext", {"depths": [1, 1, 1, 1], "dims": [8, 8, 8, 8]}),
        ("fastvit_t8", {"embed_dims": [8, 16, 16, 32], "layers": [1, 1, 1, 1]}),
    ],
)
def test_architectures_are_described_with_keywords(model: str, kwargs: dict[str, object]) -> None:
    classifier, _ = create(model, 3, kwargs, 32, scratch=True)
    assert classifier(torch.zeros(1, 3, 32, 32))[0].shape == (1, 3)


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_checkpoint(path)
    assert caught.value.where == str(path)
    return caught.value.problem


def test_both_formats_of_torch_are_read(tmp_path: Path) -> None:
    for new in (False, True):
        torch.save(STATE, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
        assert torch.equal(read_checkpoint(tmp_path / "a.pth")["weight"], STATE["weight"])


@pytest.mark.parametrize(
    "content", [b"hello, this is text\n" * 9, b"\x80\x02not a pickle", b"\x80"]
)
def test_text_and_nonsense_are_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    assert "cannot be read" in refused(tmp_path / "a.pth")


def test_what_does_not_begin_like_a_torch_file_does_not_reach_torch(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_text("hello, this is text")
    with tarfile.open(
        tmp_path / "b.pth", "w"
    ) as archive:  # an old format, which is unpacked to disk
        archive.add(tmp_path / "a.pth", "storages")
    for name in ("a.pth", "b.pth"):
        assert "it is no torch file" in refused(tmp_path / name)


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "a.pth")
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as source,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for member in source.infolist():
            content = source.read(member)
            bomb.writestr(
                member.filename, content + bytes(1 << 20 if "data/0" in member.filename else 0)
            )
    assert "it is compressed" in refused(tmp_path / "bomb.pth")


def test_members_may_not_share_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", bytes(1000))
        archive.filelist += archive.filelist * 3
    assert "claim more bytes" in refused(path)


def test_an_endless_directory_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(checkpoint_file, "DIRECTORY_BYTES_AT_MOST", 1000)
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        for number in range(30):
            archive.writestr(f"archive/data/{number}", b"")
    assert "too many members" in refused(tmp_path / "a.pth")


class Hungry:
    """Asks for memory, which the unpickler grants: `bytearray` is on torch's own list."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return bytearray, (512 << 20,)


@pytest.mark.parametrize("new", [False, True])
def test_memory_is_bounded_by_the_size_of_the_file(tmp_path: Path, monkeypatch, new: bool) -> None:
    monkeypatch.setattr(checkpoint_file, "MEMORY_BESIDES", 200 << 20)
    before = resource.getrlimit(resource.RLIMIT_AS)
    torch.save({"a": Hungry()}, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    assert "more memory" in refused(tmp_path / "a.pth")
    assert resource.getrlimit(resource.RLIMIT_AS) == before


@pytest.mark.parametrize(
    "content",
    [{"a": torch.eye(3).to_sparse()}, {"a": torch.eye(3).to_sparse_csr()}, {3: torch.ones(1)}],
    ids=["sparse", "sparse rows", "a number as name"],
)
def test_only_named_dense_tensors_are_accepted(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pth")
    assert "plain dictionary of tensors" in refused(tmp_path / "a.pth")


def test_a_header_is_bounded(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 90 << 20) + content[8:])
    assert "its header claims 94,371,840 bytes" in refused(tmp_path / "a.safetensors")


def test_only_regular_files_of_bounded_size_are_read(tmp_path: Path, monkeypatch) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "zero.pth").symlink_to("/dev/zero")
    for name in ("pipe.pth", "zero.pth"):
        assert "not a regular file" in refused(tmp_path / name)
    monkeypatch.setattr(checkpoint_file, "BYTES_AT_MOST", 1000)
    (tmp_path / "a.pth").write_bytes(bytes(1001))
    assert "it is larger than 1,000 bytes" in refused(tmp_path / "a.pth")
    assert "cannot be read" in refused(tmp_path / "a\0.pth")
