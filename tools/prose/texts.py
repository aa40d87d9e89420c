"""What a user reads: the Markdown pages, and the help, messages and descriptions in the code."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tmkd_deploy"
# identifiers, figures, formulas and file names, which no grammar fits
IDENTIFIER = re.compile(
    r"(?<![`\w/])(?:"
    r"[\w./-]*\w[_{}^=\\][^\s`|()\[\]\"]*"  # tmkd_deploy, z_v, t_{v,k}, KEY=VALUE
    r"|\w*\d[\w.,×-]*"  # INT8, 2.80, x86
    r"|[A-Z][a-z]+(?:[A-Z][a-z]+)+(?!['’])"  # KeyboardInterrupt
    r"|(?<!['’])[b-zB-HJ-Z][²³]?(?!['’])"  # symbols of one letter
    r"|[\w-]+\.(?:cfg|json|md|py|toml|yaml|yml)"
    r"|--[\w-]+"
    r"|[\w.~-]*/[\w./~-]*"
    r"|tmkd-[\w-]+|elpv-dataset|nvidia-smi|rtx-ada|jetson-orin-nano|tensorrt-rtx|set-ntp"
    r"|adamw|cpu|cuda|efficientnet|importlib|jetpack|onnxruntime|orin|sgd|timedatectl|Intel"
    r"|jpe?g|png|webp|&lt;"
    r")(?![\w`])"
)


@dataclass(frozen=True)
class Text:
    """A piece of Markdown, and where it begins."""

    place: str
    line: int
    text: str


def texts() -> list[Text]:
    """Every text, pages first."""
    return [*pages(), *messages()]


def pages() -> Iterator[Text]:
    """Markdown that git tracks, with identifiers marked as code."""
    listed = subprocess.run(
        [shutil.which("git") or "git", "ls-files", "-z", "--", "*.md", ":!proofs"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        yield Text(name, 1, prose((ROOT / name).read_text(encoding="utf-8")))


def messages() -> Iterator[Text]:
    """Strings of the package that are sentences, and the docstrings that become help."""
    for file in sorted(PACKAGE.rglob("*.py")):
        place = file.relative_to(ROOT).as_posix()
        tree = ast.parse(file.read_text(encoding="utf-8"))
        docstrings = {id(node) for node in _docstrings(tree)}
        patterns = {id(node) for node in _patterns(tree)}
        is_cli = file.is_relative_to(PACKAGE / "cli")
        for node in _outermost_strings(tree):
            text = _rendered(node)
            if id(node) in patterns or (id(node) in docstrings and not is_cli):
                continue
            if len(re.findall(r"[A-Za-z]{2,}", text)) >= 4 and re.match(r"[A-Z`]", text):
                yield Text(place, node.lineno, prose(" ".join(text.split())))


def prose(markdown: str) -> str:
    """`markdown` with code blocks emptied and identifiers as inline code, line by line."""
    lines, in_code = [], False
    for line in markdown.splitlines():
        if line.lstrip().startswith("```"):
            in_code = not in_code
            lines.append("")
        elif in_code or line.startswith("    ") or line.lstrip().startswith("<!--"):
            lines.append("")
        else:
            parts = re.split(r"(`+[^`]*`+|\]\([^)]*\)|https?://\S+)", line)
            lines.append(
                "".join(
                    part if place % 2 else IDENTIFIER.sub(lambda found: f"`{found[0]}`", part)
                    for place, part in enumerate(parts)
                )
            )
    return "\n".join(lines)


def _docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield first.value


def _patterns(tree: ast.Module) -> Iterator[ast.expr]:
    """Regular expressions, which quote other programs' messages."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re."):
            yield from node.args


def _outermost_strings(tree: ast.Module) -> Iterator[ast.Constant | ast.JoinedStr]:
    inner: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inner |= {id(part) for part in ast.walk(node) if part is not node}
            if id(node) not in inner:
                yield node
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner
        ):
            yield node


def _rendered(node: ast.Constant | ast.JoinedStr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    return "".join(
        str(part.value) if isinstance(part, ast.Constant) else "`value`" for part in node.values
    )
