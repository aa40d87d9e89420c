"""Everything is chosen without the test split: who reads it is listed here."""

from __future__ import annotations

import ast
from pathlib import Path

import tmkd_deploy

PACKAGE = Path(tmkd_deploy.__file__).parent
READERS = {"images", "labels", "keys", "images_name", "labels_name"}
MAY_READ = {
    # measures with it, and by it alone the gate judges
    "pipeline/resolved_target.py": "names it as the split that a verdict is on",
    "records/measurements.py": "likewise",
    # after the verdict
    "pipeline/stages/bundle.py": "packs test images with the logits that were measured",
    "explain/explain.py": "finds why an engine broke on a test image",
    # before it, and to refuse only
    "quantize/calibration_set.py": "refuses training images that are test images",
}


def reads_test_split(file: Path) -> bool:
    """Whether a call such as `data.images("test")` or a default names the split."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            values = [*node.args, *(keyword.value for keyword in node.keywords)]
            if name in READERS and any(_is_test(value) for value in values):
                return True
        if isinstance(node, ast.For | ast.comprehension) and any(map(_is_test, _items(node.iter))):
            return True
        if isinstance(node, ast.AnnAssign) and node.value is not None and _is_test(node.value):
            return True
    return False


def _is_test(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == "test"


def _items(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else []


def test_only_the_verdict_and_what_follows_it_read_the_test_split() -> None:
    files = [file for file in PACKAGE.rglob("*.py") if file.parent.name != "data"]
    found = {file.relative_to(PACKAGE).as_posix() for file in files if reads_test_split(file)}
    assert found == set(MAY_READ)


def test_a_reader_of_the_test_split_is_found(tmp_path: Path) -> None:
    code = {
        'top1 = accuracy(data.images("test"))': True,
        'for split in ("train", "test"): score(data, split)': True,
        'scores = [data.keys(split) for split in ["test"]]': True,
        'split: Split = "test"': True,
        'images(split="test")': True,
        'data.images("val")': False,
        'names = {"test": "test split"}': False,
    }
    for number, (line, expected) in enumerate(code.items()):
        file = tmp_path / f"{number}.py"
        file.write_text(line, encoding="utf-8")
        assert reads_test_split(file) is expected, line
