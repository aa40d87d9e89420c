import importlib.util
import os
import re
import shutil
import sys
import time

import pytest
from data_makers import encoded, make_elpv, make_folder, make_parquet, make_tar

from tmkd_deploy.data.sources import read_source, source_fingerprint, source_of
from tmkd_deploy.errors import DataError, ExitCode, MissingExtra
from tmkd_deploy.recipe.schema import Data

ROWS = [(encoded(number), f"{number}.png", number % 2) for number in range(10)]
SAMPLES = {
    f"sample{number}.{suffix}": data
    for number in range(6)
    for suffix, data in (("png", encoded(number)), ("cls", str(number % 2).encode()))
}


def read(source, path, **more):
    return read_source(Data(source=source, path=path, **more))


def refused(source, path, match, **more):
    with pytest.raises(DataError, match=match) as caught:
        read(source, path, **more)
    assert caught.value.exit_code == ExitCode.DATA
    assert caught.value.where
    assert caught.value.advice
    return caught.value


@pytest.mark.parametrize(
    ("names", "source"),
    [
        (["a.tar", "b.tar", "notes.txt"], "webdataset"),
        (["a.parquet", ".cache/x"], "parquet"),
        (["a.tar", "fine/0.png", "worn/0.png"], "folder"),
        (["0.png"], "folder"),
        ([], "folder"),
    ],
)
def test_a_folder_holds_shards_or_class_folders(tmp_path, names, source):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert source_of(tmp_path) == source


@pytest.mark.parametrize(
    ("name", "source"),
    [
        *(("a.TAR", "webdataset"), ("a.parquet", "parquet"), ("a.jsonl", "table")),
        *(("a.csv", "table"), ("absent", "folder"), ("n" * 5000, "folder")),
    ],
)
def test_a_file_is_known_by_its_suffix(tmp_path, name, source):
    assert source_of(tmp_path / name) == source


class TestFolder:
    def test_classes_are_sorted_and_images_found_at_any_depth(self, tmp_path):
        make_folder(tmp_path, {"worn": 1, "fine": 2})
        (tmp_path / "fine" / "deep" / "er").mkdir(parents=True)
        (tmp_path / "fine" / "deep" / "er" / "x.JPG").write_bytes(b"not decoded here")
        (tmp_path / "fine" / "notes.txt").write_text("no image")
        (tmp_path / "fine" / "._x.png").write_bytes(b"what macOS leaves behind")
        (tmp_path / ".cache").mkdir()
        records = read("folder", tmp_path)
        assert records.class_names == ["fine", "worn"]
        assert records.keys == [
            "fine/000.png",
            "fine/001.png",
            "fine/deep/er/x.JPG",
            "worn/000.png",
        ]
        assert records.labels == [0, 0, 0, 1]
        assert records.read(2) == b"not decoded here"

    def test_class_names_determine_the_order_of_the_labels(self, tmp_path):
        make_folder(tmp_path, {"a": 1, "b": 2})
        records = read("folder", tmp_path, class_names=["b", "a"])
        assert records.class_names == ["b", "a"]
        assert records.labels == [1, 0, 0]
        refused("folder", tmp_path, "class folders are a, b.*names a, c", class_names=["a", "c"])

    def test_a_class_folder_may_be_a_link(self, tmp_path):
        make_folder(tmp_path / "elsewhere", {"a": 1})
        make_folder(tmp_path / "here", {"b": 1})
        (tmp_path / "here" / "a").symlink_to(tmp_path / "elsewhere" / "a")
        assert read("folder", tmp_path / "here").keys == ["a/000.png", "b/000.png"]

    def test_errors_name_the_problem(self, tmp_path):
        refused("folder", tmp_path / "nowhere", "folder does not exist")
        refused("folder", tmp_path, "contains no class folders")
        (tmp_path / "file").write_text("")
        refused("folder", tmp_path / "file", "not a folder")
        make_folder(tmp_path / "images", {"only": 2})
        refused("folder", tmp_path / "images", "single class, 'only'")
        make_folder(tmp_path / "twins", {"hot_spot": 1, "hot spot": 1})
        error = refused("folder", tmp_path / "twins", "'hot spot' and 'hot_spot' are the same")
        assert "rename its folder" in error.advice
        make_folder(tmp_path / "images", {"hollow": 0})
        error = refused("folder", tmp_path / "images", "'hollow' contains no images")
        assert error.where == str(tmp_path / "images" / "hollow")


class TestParquet:
    def test_images_come_in_order_from_several_shards_and_row_groups(self, tmp_path):
        folder = tmp_path / "shards"
        make_parquet(folder / "a-0.parquet", ROWS[:7], {"class_names": ["ok", "bad"]})
        make_parquet(folder / "a-1.parquet", ROWS[7:], {"class_names": ["ok", "bad"]})
        for path in (folder, folder / "a-*.parquet", tmp_path / "*" / "a-?.parquet"):
            records = read("parquet", path)
            assert records.class_names == ["ok", "bad"]
            assert records.labels == [label for _, _, label in ROWS]
            for index in (0, 9, 3, 4, 6, 7, 0):
                assert records.read(index) == ROWS[index][0]
        assert records.keys[7] == "a-1.parquet[0] 7.png"

    def test_class_names_come_from_the_recipe_the_metadata_or_the_labels(self, tmp_path):
        hub = {"info": {"features": {"label": {"names": ["x", "y"], "_type": "ClassLabel"}}}}
        file = make_parquet(tmp_path / "hub.parquet", ROWS, {"huggingface": hub})
        assert read("parquet", file).class_names == ["x", "y"]
        assert read("parquet", file, class_names=["p", "q"]).class_names == ["p", "q"]
        plain = make_parquet(tmp_path / "plain.parquet", ROWS)
        assert read("parquet", plain).class_names == ["0", "1"]

    def test_labels_must_match_the_classes(self, tmp_path):
        file = make_parquet(tmp_path / "a.parquet", ROWS, {"class_names": ["one"]})
        error = refused("parquet", file, "label 1, but there are 1 class")
        assert "a.parquet[1] 1.png" in str(error)
        file = make_parquet(tmp_path / "b.parquet", [*ROWS, (b"", None, -1)])
        refused("parquet", file, "label -1")
        file = make_parquet(tmp_path / "c.parquet", [*ROWS, (b"", None, 2**60)])
        refused("parquet", file, f"label {2**60}")
        file = make_parquet(tmp_path / "d.parquet", [*ROWS, (b"", None, None)])
        refused("parquet", file, "Row 10 has no label")
        refused("parquet", make_parquet(tmp_path / "e.parquet", []), "empty")
        file = make_parquet(tmp_path / "f.parquet", ROWS, {"class_names": ["same", "same"]})
        refused("parquet", file, "same name, 'same'")
        for names, match in [
            (["hot_spot", "hot spot"], "'hot_spot' and 'hot spot' are the same to a text"),
            (["fine", ""], "name of class 1 is '', which contains no word"),
        ]:
            file = make_parquet(tmp_path / "g.parquet", ROWS, {"class_names": names})
            error = refused("parquet", file, match)
            assert "data.class_names" in error.advice

    def test_columns_are_required(self, tmp_path):
        import pyarrow as pa

        for columns, present in [
            ({"img": pa.array([b"x"]), "label": pa.array([0])}, "img (binary), label (int64)"),
            ({"image": pa.array([b"x"]), "label": pa.array([0])}, "image (binary)"),
            ({"image": pa.array([{"bytes": b"x"}]), "label": pa.array(["a"])}, "label (string)"),
        ]:
            file = make_parquet(tmp_path / "a.parquet", [], columns=pa.table(columns))
            refused("parquet", file, re.escape(present))

    def test_a_struct_of_bytes_alone_is_enough(self, tmp_path):
        import pyarrow as pa

        columns = pa.table({"image": [{"bytes": b"x"}, {"bytes": b"y"}], "label": [0, 1]})
        records = read("parquet", make_parquet(tmp_path / "a.parquet", [], columns=columns))
        assert records.keys == ["a.parquet[0]", "a.parquet[1]"]
        assert records.read(1) == b"y"

    def test_files_that_are_not_parquet_are_named(self, tmp_path):
        refused("parquet", tmp_path / "nowhere.parquet", "file does not exist")
        refused("parquet", tmp_path / "nowhere-*.parquet", "file does not exist")
        refused("parquet", tmp_path / "**x" / "a.parquet", "file does not exist")
        refused("parquet", tmp_path, "contains no .parquet files")
        whole = make_parquet(tmp_path / "a.parquet", ROWS).read_bytes()
        for damaged in (whole[:-20], whole[: len(whole) // 2], b"", b"hello" * 9):
            (tmp_path / "a.parquet").write_bytes(damaged)
            error = refused("parquet", tmp_path, "not a complete parquet file|cannot be read")
            assert error.where == str(tmp_path / "a.parquet")

    def test_metadata_that_cannot_be_read_is_named(self, tmp_path):
        for metadata in (
            {"class_names": 3},
            {"class_names": ["ok", None]},
            {"huggingface": {"info": {"features": 1}}},
        ):
            file = make_parquet(tmp_path / "a.parquet", ROWS, metadata)
            refused("parquet", file, "class names in this file's metadata")

    def test_shards_must_agree_on_the_classes(self, tmp_path):
        make_parquet(tmp_path / "a.parquet", ROWS, {"class_names": ["x", "y"]})
        make_parquet(tmp_path / "b.parquet", ROWS, {"class_names": ["y", "x"]})
        refused("parquet", tmp_path, "differ from those of a.parquet")

    def test_without_pyarrow_the_extra_is_named(self, tmp_path, monkeypatch):
        file = make_parquet(tmp_path / "a.parquet", ROWS)
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(MissingExtra, match=re.escape("tmkd-deploy[train]")):
            read("parquet", file)


class TestWebdataset:
    def test_images_are_read_in_place_from_several_shards(self, tmp_path):
        items = list(SAMPLES.items())
        for number in range(3):
            shard = dict(items[4 * number : 4 * number + 4])
            make_tar(tmp_path / f"s-{number:03}.tar", {**shard, "sub/x.json": b"{}"})
        for path in (tmp_path, tmp_path / "s-*.tar", tmp_path / "s-{000..002}.tar"):
            records = read("webdataset", path)
            assert records.class_names == ["0", "1"]
            assert records.labels == [0, 1, 0, 1, 0, 1]
            assert [records.read(index) for index in (5, 0)] == [encoded(5), encoded(0)]
        assert records.keys[2] == "s-001.tar/sample2"
        refused("webdataset", tmp_path / "s-{000..003}.tar", "file does not exist")
        refused("webdataset", tmp_path / "s-{2..0}.tar", "range {2..0} is empty")
        assert read("webdataset", tmp_path, class_names=["x", "y"]).class_names == ["x", "y"]

    def test_a_key_ends_at_the_first_dot_of_the_name(self, tmp_path):
        members = {
            "v1.0/a.png": b"A",
            "v1.0/a.cls": b"0",
            "v1.0/b.webp": b"B",
            "v1.0/b.cls": b"1\n",
        }
        members |= {"v1.0/b.mask.png": b"no image of its own"}
        records = read("webdataset", make_tar(tmp_path / "a.tar", members))
        assert records.keys == ["a.tar/v1.0/a", "a.tar/v1.0/b"]
        assert records.read(1) == b"B"

    def test_path_traversal_is_harmless(self, tmp_path):
        before = sorted(tmp_path.parent.rglob("*"))
        members = {
            "../../evil.png": b"A",
            "../../evil.cls": b"0",
            "/abs.png": b"B",
            "/abs.cls": b"1",
        }
        records = read("webdataset", make_tar(tmp_path / "a.tar", members))
        assert {records.read(0), records.read(1)} == {b"A", b"B"}
        assert sorted(tmp_path.parent.rglob("*")) == sorted([*before, tmp_path / "a.tar"])

    def test_a_tar_truncated_anywhere_is_refused(self, tmp_path):
        whole = make_tar(tmp_path / "whole.tar", SAMPLES).read_bytes()
        data_end = len(whole.rstrip(b"\0"))
        for end in [*range(0, data_end, 512), 100, 700, data_end]:
            (tmp_path / "cut.tar").write_bytes(whole[:end])
            refused("webdataset", tmp_path / "cut.tar", "complete|truncated")

    def test_the_one_truncated_shard_of_many_is_named(self, tmp_path):
        for number in range(30):
            make_tar(tmp_path / f"s-{number:03}.tar", SAMPLES)
        bad = tmp_path / "s-017.tar"
        bad.write_bytes(bad.read_bytes()[:-9000])
        for path in (tmp_path, tmp_path / "s-*.tar", tmp_path / "s-{000..029}.tar"):
            assert refused("webdataset", path, "truncated|complete").where == str(bad)

    def test_a_compressed_tar_is_refused(self, tmp_path):
        file = make_tar(tmp_path / "a.tar", SAMPLES, mode="w:gz")
        refused("webdataset", file, "not a complete, uncompressed tar file")

    def test_samples_must_be_complete(self, tmp_path):
        for change, match in [
            ({"z.png": b"A"}, "'z' needs exactly one image and one label, but has: png"),
            ({"z.cls": b"0"}, "but has: cls"),
            ({"z.cls": b"0", "z.png": b"A", "z.jpg": b"B"}, "has: cls, png, jpg"),
            ({"z.cls": b"cat", "z.png": b"A"}, "label of the sample 'z' is b'cat'"),
            ({"z.cls": b"5", "z.png": b"A"}, "label 5, but there are 3 classes"),
        ]:
            refused("webdataset", make_tar(tmp_path / "a.tar", {**SAMPLES, **change}), match)
        refused("webdataset", make_tar(tmp_path / "a.tar", {"readme.txt": b"hello"}), "empty")


class TestElpv:
    def test_cells_above_one_half_are_defective_and_types_are_strata(self, tmp_path, monkeypatch):
        cells = [("0.0", "mono"), ("0.3333333333333333", "poly"), ("0.6666666666666666", "poly")]
        make_elpv(tmp_path, [*cells, ("1.0", "mono")])
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "elpv_dataset", raising=False)
        records = read_source(Data(source="elpv"))
        assert records.splits == []
        assert records.class_names == ["functional", "defective"]
        assert records.labels == [0, 0, 1, 1]
        assert records.strata == ["mono", "poly", "poly", "mono"]
        assert records.read(3) == encoded(3)
        assert records.origin == "elpv-dataset 9.9"
        assert "CC BY-NC-SA 4.0" in records.notes[0]
        assert "non-commercial" in records.notes[0]
        assert "above 0.5" in records.notes[1]

    def test_a_damaged_table_is_named(self, tmp_path, monkeypatch):
        data = make_elpv(tmp_path, [])
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "elpv_dataset", raising=False)
        (data / "labels.csv").write_text("images/cell0001.png  high  mono\n")
        with pytest.raises(DataError, match="label table is damaged"):
            read_source(Data(source="elpv"))
        (data / "labels.csv").unlink()
        for look in (read_source, source_fingerprint):
            with pytest.raises(DataError, match="No such file"):
                look(Data(source="elpv"))

    def test_without_the_package_the_extra_is_named(self, monkeypatch):
        monkeypatch.setattr(sys, "path", [])
        monkeypatch.setitem(sys.modules, "elpv_dataset", None)
        for look in (read_source, source_fingerprint):
            with pytest.raises(MissingExtra, match=re.escape("tmkd-deploy[demo]")):
                look(Data(source="elpv"))

    @pytest.mark.skipif(
        importlib.util.find_spec("elpv_dataset") is None, reason="elpv-dataset is not installed"
    )
    def test_the_published_data_set(self):
        records = read_source(Data(source="elpv"))
        assert len(records.keys) == 2624
        assert sum(records.labels) == 821
        assert set(records.strata) == {"mono", "poly"}
        assert records.read(2623).startswith(b"\x89PNG")
        assert "elpv_dataset" not in sys.modules


class TestGivenSplit:
    def test_training_images_come_first(self, tmp_path):
        make_folder(tmp_path / "train", {"a": 2, "b": 1})
        make_folder(tmp_path / "test", {"a": 1, "b": 1}, first_seed=10)
        spec = Data(source="folder", train=tmp_path / "train", test=tmp_path / "test")
        records = read_source(spec)
        assert records.splits == ["train", "train", "train", "test", "test"]
        assert records.keys[2:4] == ["train/b/000.png", "test/a/000.png"]
        assert records.labels == [0, 0, 1, 0, 1]
        assert [records.read(index) for index in (2, 3)] == [encoded(2), encoded(10)]

    def test_classes_must_be_the_same(self, tmp_path):
        make_folder(tmp_path / "train", {"a": 1, "b": 1, "c": 1})
        make_folder(tmp_path / "test", {"a": 1, "b": 1})
        with pytest.raises(DataError, match=r"3 classes \(a, b, c\).*2 classes \(a, b\)"):
            read_source(Data(source="folder", train=tmp_path / "train", test=tmp_path / "test"))


class TestFingerprint:
    def test_it_depends_on_the_files_and_not_on_their_location(self, tmp_path):
        make_folder(tmp_path / "one", {"a": 2, "b": 2})
        first = source_fingerprint(Data(source="folder", path=tmp_path / "one"))
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        two = Data(source="folder", path=tmp_path / "two")
        assert source_fingerprint(two) == first
        os.utime(tmp_path / "two" / "a" / "000.png", ns=(0, 1))
        changed = source_fingerprint(two)
        (tmp_path / "two" / "b" / "001.png").unlink()
        assert len({first, changed, source_fingerprint(two)}) == 3

    @pytest.mark.parametrize("source", ["parquet", "webdataset"])
    def test_it_depends_on_shards_without_opening_them(self, tmp_path, source):
        suffix = {"parquet": "parquet", "webdataset": "tar"}[source]
        for name in ("train", "test"):
            (tmp_path / f"{name}-0.{suffix}").write_bytes(b"never opened")
        spec = Data(
            source=source, train=tmp_path / f"train-*.{suffix}", test=tmp_path / f"test-0.{suffix}"
        )
        first = source_fingerprint(spec)
        (tmp_path / f"train-1.{suffix}").write_bytes(b"")
        assert source_fingerprint(spec) != first

    def test_missing_data_are_named(self, tmp_path):
        for source in ("folder", "parquet", "webdataset"):
            with pytest.raises(DataError, match="does not exist"):
                source_fingerprint(Data(source=source, path=tmp_path / "nowhere"))

    def test_thousands_of_files_take_little_longer_than_listing_them(self, tmp_path):
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            for number in range(1500):
                (tmp_path / name / f"{number}.png").touch()

        def seconds(act):
            start = time.process_time()
            act()
            return time.process_time() - start

        spec = Data(source="folder", path=tmp_path)
        listing = min(
            seconds(lambda: [file.stat() for file in tmp_path.rglob("*")]) for _ in range(3)
        )
        fingerprint = min(seconds(lambda: source_fingerprint(spec)) for _ in range(3))
        assert fingerprint < 10 * listing
