"""Shards that are named after their splits keep them."""

from __future__ import annotations

import pytest
from data_makers import encoded, make_parquet, make_tar

from tmkd_deploy.data.sources import read_source, source_fingerprint
from tmkd_deploy.errors import DataError
from tmkd_deploy.recipe.schema import Data


def write(folder, source: str, *stems: str) -> Data:
    folder.mkdir(exist_ok=True)
    for number, stem in enumerate(stems):
        if source == "parquet":
            rows = [(encoded(10 * number + each), None, each % 2) for each in range(4)]
            make_parquet(folder / f"{stem}.parquet", rows)
        else:
            members: dict[str, bytes] = {}
            for each in range(4):
                members[f"{each}.png"] = encoded(10 * number + each)
                members[f"{each}.cls"] = b"%d" % (each % 2)
            make_tar(folder / f"{stem}.tar", members)
    return Data(source=source, path=folder)


def splits(spec: Data) -> list[str]:
    return sorted(read_source(spec).splits)


@pytest.mark.parametrize("source", ["parquet", "webdataset"])
@pytest.mark.parametrize("folder", ["shards", "with [brackets]"])
def test_names_of_the_hub_are_splits(tmp_path, source: str, folder: str) -> None:
    names = ("train-00000-of-00002", "train-00001-of-00002", "validation-0", "test")
    spec = write(tmp_path / folder, source, *names)
    assert splits(spec) == ["test"] * 4 + ["train"] * 8 + ["val"] * 4
    before = source_fingerprint(spec)
    write(tmp_path / folder, source, *names, "test_2")
    assert source_fingerprint(spec) != before


@pytest.mark.parametrize(
    "names",
    [("shard-0", "shard-1"), ("train-0", "train-1"), ("training_set", "trained-0")],
    ids=["no splits", "one split", "other words"],
)
def test_other_names_are_no_splits(tmp_path, names) -> None:
    assert splits(write(tmp_path / "shards", "parquet", *names)) == []


def test_a_word_that_begins_like_a_split_is_no_part_of_it(tmp_path) -> None:
    spec = write(tmp_path / "shards", "parquet", "train-0", "test-0")
    (tmp_path / "shards" / "train-0.parquet.crc").write_bytes(b"checksum")
    (tmp_path / "shards" / "trained.txt").write_bytes(b"a note")
    assert splits(spec) == ["test"] * 4 + ["train"] * 4


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("train-0", "test-0", "more-0"), "'train' and 'test' .* 'more-0.parquet' is not"),
        (("train-0", "training-0", "test-0"), "same split are named 'train' and 'training'"),
    ],
    ids=["one without", "two words for one"],
)
def test_what_could_mix_splits_is_refused(tmp_path, names, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        read_source(write(tmp_path / "shards", "parquet", *names))
    assert "data.train" in (caught.value.advice or "")


def test_the_path_can_still_name_all_shards_as_one(tmp_path) -> None:
    spec = write(tmp_path / "shards", "parquet", "train-0", "test-0")
    whole = Data(source="parquet", path=spec.path / "*.parquet")
    dataset = read_source(whole)
    assert dataset.splits == [] and len(dataset.keys) == 8
