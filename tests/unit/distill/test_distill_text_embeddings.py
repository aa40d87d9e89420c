"""Precomputed text embeddings: what is read, and what is refused with which words."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tmkd_deploy.distill.text_embeddings import read_embeddings
from tmkd_deploy.errors import DataError

NAMES = ["good", "scratched", "rolled-in_scale", "cracked"]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "texts.safetensors"


def rows(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.bfloat16])
def test_one_vector_per_class_serves_every_view(file, dtype):
    given = 7 * rows(4, 6).to(dtype)
    save_file({"any_name": given}, file)
    found = read_embeddings(file, NAMES)
    assert found.shape == (3, 4, 6) and found.dtype == torch.float32
    lengths = np.linalg.norm(given.double().numpy(), axis=1, keepdims=True)
    for view in found:
        assert np.allclose(view.numpy(), given.double().numpy() / lengths, atol=1e-6)


def test_each_view_may_have_its_own(file):
    given = rows(3, 4, 6)
    save_file({"texts": given}, file)
    found = read_embeddings(file, NAMES)
    assert torch.allclose(found, given / given.norm(dim=-1, keepdim=True))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"a": rows(5, 6)}, "have 5 rows, but the data have 4 classes"),
        ({"a": rows(6, 4)}, "[4, d], or [3, 4, d]"),
        ({"a": rows(3, 5, 6)}, "have 5 rows, but the data have 4 classes"),
        ({"a": rows(2, 4, 6)}, "have 2 views; expected 3: rgb, edge, freq"),
        ({"a": rows(4, 1)}, "float32 with shape [4, 1]"),
        ({"a": rows(24)}, "with shape [24]"),
        ({"a": rows(4, 6).int()}, "int32 with shape [4, 6]; expected floats"),
        ({"a": rows(4, 6), "b": rows(4, 6)}, "holds 2 tensors; expected exactly one"),
        ({}, "holds 0 tensors"),
    ],
)
def test_tensors_that_do_not_match_the_classes_are_refused(file, tensors, message):
    save_file(tensors, file)
    with pytest.raises(DataError) as caught:
        read_embeddings(file, NAMES)
    assert message in caught.value.problem
    assert caught.value.where == str(file)
    assert "method.md" in caught.value.advice


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_faulty_row_is_named_by_its_class(file, value):
    given = rows(3, 4, 6)
    given[1, 2] = value
    save_file({"a": given}, file)
    with pytest.raises(DataError, match="class 2, 'rolled-in_scale', is zero or not finite"):
        read_embeddings(file, NAMES)


def test_a_missing_or_damaged_file_is_refused(file):
    with pytest.raises(DataError, match="file of text embeddings does not exist"):
        read_embeddings(file, NAMES)
    file.write_bytes(b"these are no tensors")
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        read_embeddings(file, NAMES)
    save_file({"a": rows(4, 6)}, file)
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        read_embeddings(file, NAMES)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        read_embeddings(tmp_path, NAMES)


def test_class_names_in_the_file_must_match_the_data(file):
    own = json.dumps(["good", "scratched", "rolled in scale", "cracked"])
    save_file({"a": rows(4, 6)}, file, metadata={"class_names": own, "rows": "free text"})
    assert read_embeddings(file, NAMES).shape == (3, 4, 6)
    with pytest.raises(
        DataError, match=r"Row 1 .* is for 'scratched', but class 1 .* is 'cracked'"
    ):
        read_embeddings(file, ["good", "cracked", "rolled-in_scale", "scratched"])


@pytest.mark.parametrize("own", ["free text", '"good"', "[]", "{}"])
def test_metadata_without_a_list_of_names_is_ignored(file, own):
    save_file({"a": rows(4, 6)}, file, metadata={"class_names": own})
    assert read_embeddings(file, NAMES).shape == (3, 4, 6)
