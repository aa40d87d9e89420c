"""Images, data sets, run folders and weights that once broke something: one test for each."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
import zlib
from pathlib import Path

import pytest
from cage import Holds
from fuzzed import files, images, irregular, parquet_shards, tar_shards

ESCAPE = "\x1b]52;c;cm0gLXJm\x07\x1b[2J"


def png(width: int, height: int, depth: int, colour: int, scanlines: bytes) -> bytes:
    """A PNG file with this header, and these bytes for its pixels."""

    def piece(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = piece(b"IDAT", zlib.compress(scanlines)) if scanlines else b""
    return b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", header) + pixels + piece(b"IEND", b"")


# --- images


@pytest.mark.parametrize("side", [(9459, 9459), (50, 1_700_000)])
@pytest.mark.parametrize(
    ("depth", "colour", "bits"), [(16, 0, 16), (8, 2, 24), (8, 6, 32), (16, 4, 32)]
)
def test_a_tiny_file_of_very_many_pixels(
    holds: Holds, side: tuple[int, int], depth: int, colour: int, bits: int
) -> None:
    one_row = bytes(1 + side[0] * bits // 8)
    holds("images", png(*side, depth, colour, one_row))


def test_an_image_that_ends_early(tmp_path: Path) -> None:
    from tmkd_deploy.runtime.image import UnreadableImage, read_rgb

    rows = b"".join(b"\0" + bytes([200] * 24) for _ in range(4))
    with pytest.raises(UnreadableImage):
        read_rgb(png(8, 8, 8, 2, rows))  # four of eight rows
    with pytest.raises(UnreadableImage):
        read_rgb(png(8, 8, 8, 2, b""))
    whole = images.originals()["png"]
    with pytest.raises(UnreadableImage):
        read_rgb(whole[: len(whole) // 2])


# --- data sets


def _header(size: bytes, kind: bytes = b"0", name: str = "0.png") -> bytes:
    member = tarfile.TarInfo(name)
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[124:136], header[156:157] = size, kind
    return tar_shards.with_checksums(bytes(header))


@pytest.mark.parametrize(
    "size",
    [b"\xff" * 12, b"\xff" * 11 + b"\0", b"-0000000001\0", b"\x80" + b"\xff" * 11, b"x" * 12],
)
@pytest.mark.parametrize("kind", [b"0", b"S", b"x", b"g", b"L", b"5"])
def test_tar_members_of_impossible_sizes(holds: Holds, size: bytes, kind: bytes) -> None:
    holds("tar shards", _header(size, kind) + bytes(2048))
    holds("tar shards", tar_shards.shards()[0][:-1024] + _header(size, kind) + bytes(1024))


@pytest.mark.parametrize("record", tar_shards.PAX)
def test_extended_tar_headers(holds: Holds, record: str) -> None:
    text = f"{record}\n".encode("utf-8", "surrogatepass")
    number = len(text) + 3
    content = b"%d " % (number if number > 9 else number - 1) + text
    member = tarfile.TarInfo("x")
    member.type, member.size = b"x", len(content)
    header = member.tobuf(tarfile.USTAR_FORMAT) + content.ljust(512, b"\0")
    holds("tar shards", header + tar_shards.shards()[0])


def test_a_sparse_tar_member_of_terabytes(holds: Holds) -> None:
    header = bytearray(_header(b"00000000010\0", b"S", "0.png"))
    header[386:398], header[398:410] = b"00000000000\0", b"00000000010\0"
    header[483:495] = b"77777777777\0"
    holds("tar shards", tar_shards.with_checksums(bytes(header)) + bytes(2048))


@pytest.mark.parametrize("numbers", ["0..999999999", "0.." + "9" * 5000, "9..1", "٠..٩"])
def test_a_range_of_very_many_shards(holds: Holds, numbers: str) -> None:
    holds("data paths", ("webdataset", f"shard-{{{numbers}}}.tar"))


def test_a_small_parquet_file_of_gigabytes(holds: Holds) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    row = {"bytes": bytes(64 << 20), "path": "a.png"}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    indices = pa.array([0] * 64, pa.int32())
    big = pa.array([row["bytes"]], pa.binary())
    stream = io.BytesIO()
    columns = {"label": pa.array([number % 2 for number in range(64)])}
    repeated = pa.DictionaryArray.from_arrays(indices, big)
    struct_ = pa.StructArray.from_arrays(
        [repeated, pa.array(["a.png"] * 64)], names=["bytes", "path"]
    )
    assert kind is not None
    table = pa.table({"image": struct_, **columns})
    pq.write_table(table, stream, compression="zstd", use_dictionary=True, store_schema=False)
    assert len(stream.getvalue()) < 1 << 20
    holds("parquet shards", stream.getvalue())


@pytest.mark.parametrize(
    "metadata", [b"[" * 900, b"[" * 100_000, b'["a\\ud800","b"]', b"\xff", b'{"a":' * 5000]
)
def test_hostile_class_names_in_parquet_metadata(holds: Holds, metadata: bytes) -> None:
    pytest.importorskip("pyarrow")
    holds("parquet shards", parquet_shards.table.__wrapped__("struct", "int64", metadata, "none"))


@pytest.mark.parametrize("kind", irregular.KINDS)
@pytest.mark.parametrize("place", sorted(irregular.NAMES))
def test_what_is_not_a_regular_file(holds: Holds, place: str, kind: str) -> None:
    """A pipe would be waited for, and /dev/zero read, for ever."""
    holds("irregular files", (place, kind))


# --- run folders and weights


@pytest.mark.parametrize(
    "name", ["../../canary/secret", "../../../../etc/passwd", "/etc/passwd", "..", "a\0b"]
)
def test_a_resealed_manifest_that_names_other_files(holds: Holds, name: str) -> None:
    manifest = json.loads(json.dumps(files._manifest()))
    target = Path(name) if name.startswith("/") else Path("/etc/passwd")
    content = target.read_bytes()
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    if "canary" in name:
        secret = b"do not read this\n"
        entry = {"sha256": hashlib.sha256(secret).hexdigest(), "bytes": len(secret)}
    manifest["files"][name] = entry
    holds("artifact manifests", (json.dumps(manifest).encode(), True))


def test_a_lock_that_is_a_link(tmp_path: Path) -> None:
    from tmkd_deploy.errors import TmkdError
    from tmkd_deploy.pipeline.run_lock import only_process_in

    precious = tmp_path / "precious"
    precious.write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").symlink_to(precious)
    try:
        with only_process_in(run):
            pass
    except TmkdError:
        pass
    assert precious.read_text() == "mine"


def test_a_manifest_with_half_a_character(holds: Holds) -> None:
    manifest = files._manifest()
    manifest["tool_version"] = "\udcff"
    holds("artifact manifests", (json.dumps(manifest).encode(), False))


def test_a_tensor_name_that_is_not_utf_8(holds: Holds) -> None:
    pytest.importorskip("onnx")
    from colour_bundle import colour_model

    content = colour_model()
    assert b"floats" in content
    holds("onnx files", content.replace(b"floats", b"fl\x9bats", 1))


def test_weights_in_a_file_whose_name_is_not_utf_8(holds: Holds) -> None:
    onnx = pytest.importorskip("onnx")
    from colour_bundle import colour_model

    model = onnx.load_from_string(colour_model())
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="elsewhere")
    holds("onnx files", model.SerializeToString().replace(b"elsewhere", b"else\xffhere"))


def test_a_dimension_whose_name_is_not_utf_8(holds: Holds) -> None:
    pytest.importorskip("onnx")
    from colour_bundle import colour_model

    before, _, after = colour_model().rpartition(b"batch")
    holds("onnx files", before + b"bat\x84h" + after)


def test_a_row_group_that_is_shorter_than_its_metadata_says(holds: Holds) -> None:
    pytest.importorskip("pyarrow")
    content = bytearray(parquet_shards.table("struct", "int64", b"", "none"))
    content[5] = 6  # the first page is of another kind
    holds("parquet shards", bytes(content))


@pytest.mark.parametrize("place", [b"\xff" * 8, b"\0" * 7 + b"\x80", b"\xff" * 7 + b"\x7f"])
def test_a_big_tiff_whose_directory_is_nowhere(holds: Holds, place: bytes) -> None:
    holds("images", b"II+\0\x08\0\0\0" + place + bytes(64))


def test_statistics_of_a_column_for_which_pyarrow_aborts(holds: Holds) -> None:
    pytest.importorskip("pyarrow")
    content = bytearray(parquet_shards.table("struct", "int64", b"", "none"))
    content[5870], content[6507] = 4, 49  # a column of integers claims the sizes of texts
    holds("parquet shards", bytes(content))


def test_drafts_behind_a_link_stay(tmp_path: Path) -> None:
    from tmkd_deploy.artifacts import sweep_drafts
    from tmkd_deploy.errors import ArtifactError

    outside = tmp_path / "outside" / ".mine-draft-1"
    outside.mkdir(parents=True)
    run = tmp_path / "run"
    run.mkdir()
    for name in ("measure", "build", "bundle", "gate"):
        (run / name).symlink_to(outside.parent)
    with pytest.raises(ArtifactError, match="link"):
        sweep_drafts(run)
    assert outside.exists()


@pytest.mark.parametrize("content", files.EVIL)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_checkpoints_that_are_none(holds: Holds, suffix: str, content: bytes) -> None:
    holds("checkpoints", (suffix, content))


@pytest.mark.parametrize("form", ["Html", "Markdown", "Json", "Junit"])
def test_hostile_names_in_reports(form: str) -> None:
    pytest.importorskip("jinja2")
    from importlib import import_module

    from invariants import of_text
    from report_fixture import cpu_target, run_report

    # what programs read may hold whatever does no harm to a program
    names = [f"a{ESCAPE}", "\u202eb\u2066" if form in ("Html", "Markdown") else "b"]
    module = import_module(f"tmkd_deploy.report.{form.lower()}")
    text = getattr(module, form)().render(run_report(cpu_target(names), class_names=names))
    codes = [each for each in of_text(text, "") if each.kind == "control codes"]
    assert not codes, codes
