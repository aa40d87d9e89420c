"""What lies around the package holds together: links, extras."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("**/*.md")),
    ROOT / "docker" / "README.md",
    ROOT / "benchmarks" / "README.md",
]


def name(path: Path) -> str:
    return path.name


def extras_offered() -> set[str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    return set(re.findall(r"^([a-z-]+) = \[", section, re.MULTILINE))


def extras_in(text: str) -> set[str]:
    groups = re.findall(r"(?:\.|tmkd-deploy|clone)\[([a-z,-]+)\]", text)
    return {extra for group in groups for extra in group.split(",")}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    for link, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        if link.startswith("http"):
            continue
        target = page.parent / link if link else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
            assert anchor in slugs, f"{link}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_extras_a_page_names_are_offered(page: Path) -> None:
    assert extras_in(page.read_text(encoding="utf-8")) <= extras_offered()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_source_files_a_page_names_exist(page: Path) -> None:
    for named in re.findall(r"`((?:[\w.-]+/)+[\w-]+\.(?:py|sh|c|yaml))`", page.read_text("utf-8")):
        roots = (page.parent, ROOT, ROOT / "tmkd_deploy")
        is_users_own = named.startswith("./")
        assert is_users_own or any((root / named).exists() for root in roots), named


@pytest.mark.parametrize(
    ("package", "python", "faulty", "sound"),
    [
        ("pillow", "3.11", "12.3.0", "13.0.0"),  # overflow in the JPEG decoder
        ("pillow", "3.10", "12.2.0", "12.3.0"),  # an integer overflow in the libtiff of its wheels
        ("torch", "3.10", "2.9.1", "2.10.0"),  # memory corruption by weights_only
        ("timm", "3.10", "1.0.25", "1.0.26"),  # unpickles checkpoints
        ("onnx", "3.10", "1.21.0", "1.22.0"),  # external data through links
        ("pyarrow", "3.10", "14.0.0", "15.0.0"),  # runs code in Parquet files
        ("jinja2", "3.10", "3.1.5", "3.1.6"),  # leaves its sandbox
        ("requests", "3.10", "2.32.3", "2.32.4"),  # sends credentials to other hosts
    ],
)
def test_releases_with_known_faults_are_refused(package, python, faulty, sound) -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lines = re.findall(rf'^ *"({package}>=[^"]*)"', text, re.MULTILINE)
    requirements = [
        each
        for each in map(Requirement, lines)
        if each.marker is None or each.marker.evaluate({"python_version": python})
    ]
    assert len(requirements) == 1
    assert not requirements[0].specifier.contains(faulty)
    assert requirements[0].specifier.contains(sound)
