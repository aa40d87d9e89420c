"""The evidence benchmark: its dependencies, resuming, and its table."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy import stats

from benchmarks.evidence.rows import ROWS
from benchmarks.evidence.sets import Part, _class_balanced_subset
from benchmarks.evidence.table import estimate, write_table
from benchmarks.evidence.train import BenchmarkConfig, is_done
from tmkd_deploy.models.cifar_resnet import cifar_resnet56

REPOSITORY = Path(__file__).parents[3]

# a machine with torch, timm, NumPy, pyarrow and safetensors, and with what those bring themselves
BARE = """
import sys

class Refuse:
    # onnx and some others are left out: torch itself asks whether they are there
    refused = {"pydantic", "kornia", "open_clip", "accelerate", "typer", "modelopt", "jinja2"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.refused:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
import dataclasses, json, pathlib
from benchmarks.evidence import plans, train
from benchmarks.evidence.rows import ROWS

root, teacher_outputs = pathlib.Path(sys.argv[1]), sys.argv[2]
plans.SHORT["cifar100"] = dataclasses.replace(
    plans.SHORT["cifar100"], epochs=1, classes=3, train_images=24, teacher_images=24,
    teacher_outputs=teacher_outputs, augment="crop" if teacher_outputs == "live" else "flip",
    batch_size=8,
)
config = train.BenchmarkConfig(root, root / "work", root / "results", "short", 1)
for kind in ("RGB", "three views"):
    train.make_visual_teacher(config, "cifar100", kind)
train.make_text_teacher(config, "cifar100")
for row in ROWS:
    train.run(config, "cifar100", row, 0)
    assert train.is_done(config, "cifar100", row, 0)
    assert not train.is_done(config, "cifar100", row, 1)
plans.SHORT["cifar100"] = dataclasses.replace(plans.SHORT["cifar100"], epochs=2)
assert not train.is_done(config, "cifar100", "kd", 0)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Parquet files of coloured noise, a random teacher, random text embeddings."""
    folder = tmp_path_factory.mktemp("evidence")
    (folder / "cifar100").mkdir()
    (folder / "weights").mkdir()
    torch.manual_seed(0)
    state = {key: value.contiguous() for key, value in cifar_resnet56().state_dict().items()}
    save_file(state, folder / "weights" / "cifar100_resnet56.safetensors")
    save_file(
        {"text_features": torch.randn(100, 16)},
        folder / "weights" / "cifar100_clip_vit_b32_text.safetensors",
    )
    names = json.dumps([f"class {number}" for number in range(5)])
    for split, count in (("train", 60), ("test", 20)):
        rows = [{"bytes": _png(number, split), "path": None} for number in range(count)]
        table = pa.table({"image": rows, "label": [number % 5 for number in range(count)]})
        table = table.replace_schema_metadata({"class_names": names})
        pq.write_table(table, folder / "cifar100" / f"{split}-00000-of-00001.parquet")
    return folder


def _png(number, split):
    import io

    from PIL import Image

    random = np.random.default_rng([number, split == "test"])
    pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    pixels[..., number % 3] //= 4
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("teacher_outputs", ["cached", "live"])
def test_the_cifar_rows_run_on_a_bare_machine(root, tmp_path, teacher_outputs):
    for name in ("cifar100", "weights"):
        (tmp_path / name).symlink_to(root / name)
    command = [sys.executable, "-c", BARE, str(tmp_path), teacher_outputs]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    files = list((tmp_path / "results" / "short" / "cifar100").glob("*.json"))
    results = {(found := json.loads(file.read_text()))["row"]: found for file in files}
    assert set(results) == set(ROWS)
    assert all(0 <= result["top1"] <= 1 for result in results.values())
    assert results["supervised"]["teacher_passes_per_image"] == 0
    assert results["kd"]["teacher_passes_per_image"] == 1
    assert results["tmkd-kd"]["teacher_passes_per_image"] == 3
    assert len({result["recipe_sha256"] for result in results.values()}) == len(ROWS)
    page = tmp_path / "evidence.md"
    write_table(tmp_path / "results", page)
    for row in ROWS.values():
        assert f"| {row.title} | 1 |" in page.read_text()


@pytest.mark.slow
def test_the_command_runs_what_is_missing_and_writes_the_page(root, tmp_path):
    page = tmp_path / "evidence.md"
    places = {"data-root": root, "work": tmp_path / "work", "results": tmp_path, "table": page}
    command = [sys.executable, "-m", "benchmarks.evidence", "--schedule", "short"]
    command += ["--sets", "cifar100", "--rows", "supervised", "kd", "--seeds", "1"]
    command += [word for name, config in places.items() for word in (f"--{name}", str(config))]
    for message in ("cifar100 2/2: ", "cifar100: all results exist."):
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        assert message in done.stdout
    assert "| KD | 1 |" in page.read_text()


def result(row, seed, top1):
    return {
        "row": row,
        "seed": seed,
        "top1": top1,
        "macro_recall": top1,
        "train_images": 10,
        "test_images": 10,
        "teacher_passes_per_image": 1,
        "teacher_top1": {"rgb": 0.9},
        "seconds": 1.0,
        "machine": {"device": "a processor", "threads": 1, "torch": "2"},
    }


def test_the_committed_results_belong_to_the_present_constants():
    """Otherwise the command would run all of them again."""
    results = REPOSITORY / "benchmarks" / "results" / "evidence"
    files = list(results.glob("*/*/*.json"))
    assert files
    for file in files:
        run = json.loads(file.read_text())
        config = BenchmarkConfig(results, results, results, run["schedule"], 1)
        assert config.result(run["set"], run["row"], run["seed"]) == file
        assert is_done(config, run["set"], run["row"], run["seed"]), file


def test_the_table_shows_means_intervals_and_paired_differences(tmp_path):
    kd, tmkd = [0.70, 0.72, 0.68], [0.73, 0.76, 0.70]
    folder = tmp_path / "short" / "elpv"
    folder.mkdir(parents=True)
    for row, shares in (("kd", kd), ("tmkd-kd", tmkd)):
        for seed, share in enumerate(shares):
            (folder / f"{row}-{seed}.json").write_text(json.dumps(result(row, seed, share)))
    page = tmp_path / "evidence.md"
    write_table(tmp_path, page)
    test = stats.ttest_rel([100 * share for share in tmkd], [100 * share for share in kd])
    interval = stats.t.interval(0.95, 2, 70.0, stats.sem([70.0, 72.0, 68.0]))
    text = page.read_text()
    assert f"| KD | 3 | 70.00 ± {interval[1] - 70:.2f} |" in text
    assert f"+3.00 ± {test.confidence_interval().high - 3:.2f} | {test.pvalue:.3f} |" in text
    assert "TMKD (KD) is ahead of KD on 1 of 1 data sets (p < 0.05 on 1)" in text
    assert "Not run yet" in text


@settings(deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=2, max_size=6, unique=True))
def test_an_estimate_is_students_t(values):
    found, expected = estimate(values), stats.ttest_1samp(values, 0.0)
    assert found.mean == pytest.approx(np.mean(values))
    if np.std(values) > 1e-6:
        assert found.p_value == pytest.approx(expected.pvalue, abs=1e-9)
        half_width = (expected.confidence_interval().high - expected.confidence_interval().low) / 2
        assert found.half_width == pytest.approx(half_width)


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 60))
def test_a_subset_takes_the_classes_in_turn(labels, images):
    part = Part(np.arange(len(labels))[:, None], np.array(labels))
    subset = _class_balanced_subset(part, images)
    assert len(subset.labels) == min(images, len(labels))
    assert len(set(subset.images[:, 0])) == len(subset.labels)
    taken = {label: int((subset.labels == label).sum()) for label in set(labels)}
    for label, count in taken.items():  # no class stays behind while it has images left
        if count < labels.count(label):
            assert count >= max(taken.values()) - 1
