"""Data sets that would hang, exhaust memory or end in a traceback."""

import json
import os
import sys
import tarfile
from pathlib import Path

import pytest
from data_makers import encoded, make_elpv, make_folder, make_parquet, make_tar

from tmkd_deploy.data import parquet
from tmkd_deploy.data.sources import read_source, source_fingerprint
from tmkd_deploy.errors import DataError, ExitCode
from tmkd_deploy.recipe.schema import Data
from tmkd_deploy.runtime.image_limits import MAX_BYTES

ROWS = [(encoded(number), f"{number}.png", number % 2) for number in range(10)]


def refused(source, path, match, index=None):
    """`read_source`, or with `index` reading that image, raises a DataError."""
    with pytest.raises(DataError, match=match) as caught:
        dataset = read_source(Data(source=source, path=path))
        if index is not None:
            from tmkd_deploy.data.samples import reading

            with reading(path):
                dataset.read(index)
    assert caught.value.exit_code == ExitCode.DATA
    assert caught.value.where
    assert caught.value.advice
    return caught.value


def blocked(path):
    """Files at `path` that must not be opened or not be read to their end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    yield "not a regular file"
    path.unlink()
    path.symlink_to("/dev/zero")
    yield "not a regular file"
    path.unlink()


class TestFiles:
    def test_a_folder_with_a_pipe_or_a_device_is_refused(self, tmp_path):
        root = make_folder(tmp_path / "images", {"a": 1, "b": 1})
        for match in blocked(root / "a" / "x.png"):
            source_fingerprint(Data(source="folder", path=root))
            refused("folder", root, match, index=1)
        with (root / "a" / "x.png").open("wb") as stream:
            stream.truncate(MAX_BYTES + 1)
        refused("folder", root, "larger than 256 MiB", index=1)

    @pytest.mark.parametrize("source", ["parquet", "webdataset"])
    def test_a_shard_that_is_a_pipe_or_a_device_is_refused(self, tmp_path, source):
        suffix = {"parquet": "parquet", "webdataset": "tar"}[source]
        for match in blocked(tmp_path / f"x.{suffix}"):
            refused(source, tmp_path, match)
            refused(source, tmp_path / f"x.{suffix}", match)

    def test_a_table_that_is_a_pipe_or_a_device_is_refused(self, tmp_path, monkeypatch):
        data = make_elpv(tmp_path, [])
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "elpv_dataset", raising=False)
        (data / "labels.csv").unlink()
        for match in blocked(data / "labels.csv"):
            for look in (read_source, source_fingerprint):
                with pytest.raises(DataError, match=match):
                    look(Data(source="elpv"))
        (data / "labels.csv").write_bytes(b"\xff\xfe")
        with pytest.raises(DataError, match="label table is damaged"):
            read_source(Data(source="elpv"))

    def test_links_to_regular_files_are_followed(self, tmp_path):
        root = make_folder(tmp_path / "images", {"a": 1, "b": 1})
        (root / "a" / "x.png").symlink_to(root / "b" / "000.png")
        dataset = read_source(Data(source="folder", path=root))
        assert dataset.read(1) == dataset.read(2)

    @pytest.mark.parametrize("source", ["folder", "parquet", "webdataset"])
    @pytest.mark.parametrize("name", ["a\0b", "a\ud800b", "x" * 5000])
    def test_impossible_paths_do_not_exist(self, tmp_path, source, name):
        refused(source, tmp_path / name, "does not exist|cannot be read")


class TestWebdataset:
    def shard(self, tmp_path, header, rest=b""):
        file = tmp_path / "a.tar"
        file.write_bytes(bytes(header) + rest + bytes(1024))
        return file

    def header(self, name="a.png", size=0, kind=tarfile.REGTYPE, **more):
        member = tarfile.TarInfo(name)
        member.size, member.type = size, kind
        header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
        for start, content in more.values():
            header[start : start + len(content)] = content
        header[148:156] = b"        "
        header[148:156] = b"%06o\0 " % sum(header)
        return header

    @pytest.mark.parametrize("size", [-512, -1024, -1, 1 << 40, (1 << 63) + 7, 1 << 80])
    def test_sizes_in_base_256_are_checked(self, tmp_path, size):
        field = bytes([0xFF if size < 0 else 0x80]) + (size % (1 << 88)).to_bytes(11, "big")
        header = self.header(size_field=(124, field))
        refused("webdataset", self.shard(tmp_path, header), "tar file|not complete")

    @pytest.mark.parametrize("size", ["-512", "-99999", str(1 << 40), "9" * 400, "x", "1e3"])
    def test_sizes_in_extended_headers_are_checked(self, tmp_path, size):
        record = f" size={size}\n"
        length = len(record) + 2
        length += len(str(length)) - 2
        record = f"{len(record) + len(str(length))}{record}".encode()
        extended = self.header("pax", len(record), tarfile.XHDTYPE)
        rest = record.ljust(-(-len(record) // 512) * 512, b"\0") + self.header(size=0)
        file = self.shard(tmp_path, extended, rest)
        refused("webdataset", file, "tar file|not complete|needs exactly one")

    @pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
    def test_names_and_extensions_of_any_size_are_not_read(self, tmp_path, kind):
        file = self.shard(tmp_path, self.header("x", 64 << 20, kind))
        with file.open("r+b") as stream:
            stream.truncate(80 << 20)
        refused("webdataset", file, "a header has the size 67108864")

    def test_nested_long_names_are_refused(self, tmp_path):
        long_name = bytes(self.header("x", 1, tarfile.GNUTYPE_LONGNAME)) + bytes(512)
        refused("webdataset", self.shard(tmp_path, b"", long_name * 3000), "damaged|complete")

    def test_sparse_members_are_refused(self, tmp_path):
        header = self.header("a.png", 0, tarfile.GNUTYPE_SPARSE, real=(483, b"00000001000\0"))
        refused("webdataset", self.shard(tmp_path, header), "stored as a sparse file")
        header = self.header("a.png", 0, tarfile.GNUTYPE_SPARSE, offsets=(386, b"x" * 24))
        refused("webdataset", self.shard(tmp_path, header), "sparse|damaged")

    def test_an_image_of_any_size_is_not_read(self, tmp_path):
        file = self.shard(tmp_path, self.header("a.png", MAX_BYTES + 1))
        with file.open("r+b") as stream:
            stream.truncate(MAX_BYTES + (1 << 20))
        refused("webdataset", file, "larger than 256 MiB")

    def test_a_label_of_any_size_is_not_read(self, tmp_path):
        file = make_tar(tmp_path / "a.tar", {"a.png": b"A", "a.cls": b"7" * (1 << 20)})
        assert len(str(refused("webdataset", file, "label"))) < 1000

    @pytest.mark.parametrize("pattern", ["s-{0..999999999}.tar", "{0..999}/{0..999}/{0..9}.tar"])
    def test_ranges_are_counted_before_they_are_written_out(self, tmp_path, pattern):
        for look in (source_fingerprint, read_source):
            with pytest.raises(DataError, match="shards; at most 100,000"):
                look(Data(source="webdataset", path=tmp_path / pattern))

    def test_a_name_that_is_not_text_is_refused(self, tmp_path):
        members = {"a\udcff.png": b"A", "a\udcff.cls": b"0", "b.png": b"B", "b.cls": b"1"}
        refused("webdataset", make_tar(tmp_path / "a.tar", members), "is not valid text")


class TestParquet:
    def test_metadata_nested_without_end_is_refused(self, tmp_path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = make_parquet(tmp_path / "a.parquet", ROWS)
        for key in ("class_names", "huggingface"):
            table = pq.read_table(file).replace_schema_metadata({key: "[" * 200_000})
            assert isinstance(table, pa.Table)
            pq.write_table(table, tmp_path / "b.parquet")
            refused("parquet", tmp_path / "b.parquet", "class names in this file's metadata")

    @pytest.mark.parametrize("metadata", [{"class_names": ["ok", "\ud800"]}])
    def test_names_that_are_not_text_are_refused(self, tmp_path, metadata):
        assert "\\ud800" in json.dumps(metadata)
        file = make_parquet(tmp_path / "a.parquet", ROWS, metadata)
        refused("parquet", file, r"'\\ud800' is not valid text")

    def test_a_small_file_of_huge_images_is_not_read(self, tmp_path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        image = pa.array([{"bytes": bytes(33 << 20)}] * 3)
        file = tmp_path / "a.parquet"
        table = pa.table({"image": image, "label": [0, 1, 0]})
        pq.write_table(table, file, compression="zstd", use_dictionary=False)
        assert file.stat().st_size < 100_000
        refused("parquet", file, "of this file expand to")

    def test_an_image_that_a_file_repeats_is_copied_a_few_times_only(self, tmp_path):
        file = make_parquet(tmp_path / "a.parquet", [ROWS[0]] * 100, row_group_size=100)
        assert max(len(batch) for batch in parquet._batches(file, 0)) <= 8

    def test_more_rows_than_bytes_are_not_read(self, tmp_path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = (1 << 20) + 1
        image = pa.StructArray.from_arrays([pa.nulls(rows, pa.binary())], ["bytes"])
        table = pa.table({"image": image, "label": pa.array([0] * rows, pa.int8())})
        pq.write_table(table, tmp_path / "a.parquet")
        refused("parquet", tmp_path / "a.parquet", "too few for its 1,048,577 rows")

    def test_long_paths_are_read_few_at_a_time(self):
        class Metadata:  # what `_names_at_once` reads of pyarrow's, to spare a large file
            num_row_groups, total_byte_size = 1, 32 << 20

            def row_group(self, _):
                return self

        assert parquet._names_at_once(Metadata()) == 8

    def test_images_that_are_no_bytes_are_refused(self, tmp_path):
        import pyarrow as pa

        for image in ([{"bytes": "text"}], [{"bytes": [1, 2]}], [{"bytes": None}]):
            table = pa.table({"image": image, "label": [0]})
            file = make_parquet(tmp_path / "a.parquet", [], columns=table)
            refused("parquet", file, "Required columns are missing")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc")
def test_a_refused_file_is_closed(tmp_path):
    os.mkfifo(tmp_path / "x.tar")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        refused("webdataset", tmp_path, "not a regular file")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
